package extauthz

import (
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
)

const (

	// Envoy takes 100 headers of a request by default.
	maxHeaderNames     = 100
	maxHeaderNameBytes = 256
)

// A question is one CheckRequest, read: what is to be decided, and the names
// of the request's headers that must not reach the API.
type question struct {
	authz.Request          // Cookies only where a route is open to people: see envoy/bootstrap
	stream        string   // envoy.HeaderStream or envoy.HeaderStreamEnvoy: where the route takes the stream's rest; "": nowhere
	removes       []string // lower case, sorted, without repetition
	overrides     []string // lower case; of an agent's request only
}

// readCheck reads what arrived of a CheckRequest. It judges nothing; but where
// the message contradicts itself it leaves Path empty, which no decision
// accepts. It reports false where there is no HTTP request in it.
//
// trustedHops is how many proxies in front of Envoy are believed: see
// [Config].
func readCheck(check *attributes, trustedHops int) (question, bool) {
	if !check.http {
		return question{}, false
	}
	seen := headers{ath: append(make([]string, 0, 4), envoy.HeaderAgentID)} // removed always; in the reply cookie comes before
	if check.raw {
		for _, h := range check.headers {
			seen.add(h.name, h.value)
		}
	} else {
		for name, value := range check.joined {
			seen.add(name, value)
		}
	}
	q := question{Request: authz.Request{
		Host: check.host, Client: clientOf(check.client, seen.forwardedFor, trustedHops), Provider: check.provider, Mount: check.mount,
		Authorization: seen.authorization, AgentID: seen.agentID, Cookies: seen.cookies, Upgrade: seen.upgrade, StrayToken: check.stray,
	}}
	if check.stream == envoy.HeaderStream || check.stream == envoy.HeaderStreamEnvoy {
		q.stream = check.stream
	}
	q.removes, q.overrides = seen.ath, seen.overrides
	slices.Sort(q.removes)

	// Envoy Gateway leaves the pseudo headers out of the map.
	q.Method, q.Path = seen.method.or(check.method), seen.path.or(check.path)
	rawPath := check.raw && seen.path.times > 0
	switch {
	case seen.method.times > 1 || seen.path.times > 1 || seen.unremovable:
		q.Path = ""
	case !rawPath:
		q.Blurred = strings.Contains(q.Path, "!")
	}
	return q, true
}

// A once is a header that comes once if it comes.
type once struct {
	value string
	times int
}

func (o *once) or(fallback string) string {
	if o.times == 0 {
		return fallback
	}
	return o.value
}

// headers collects what matters of a request's headers, every value of each.
type headers struct {
	method, path                    once
	forwardedFor                    string
	authorization, agentID, cookies []string
	upgrade                         []string

	ath         []string // names of the headers that start with x-ath-
	unremovable bool     // one of those, or their number, is nothing that a reply can remove
	overrides   []string // names of envoy.OverrideHeaders, and of those that identify somebody
}

func (h *headers) add(name, value string) {
	if h.addKnown(name, value) {
		return
	}
	name = strings.ToLower(name)
	if h.addKnown(name, value) {
		return
	}
	switch bytes := []byte(name); {
	case overrides(bytes):
		if !slices.Contains(h.overrides, name) {
			h.overrides = append(h.overrides, name)
		}
	case startsOurs(bytes):
		h.remove(&h.ath, name)
	case identifies(bytes):
		h.remove(&h.overrides, name)
	}
}

// addKnown takes a header that has a meaning of its own.
func (h *headers) addKnown(name, value string) bool {
	switch name {
	case ":method":
		h.method = once{value, h.method.times + 1}
	case ":path":
		h.path = once{value, h.path.times + 1}
	case envoy.HeaderAuthorization:
		h.authorization = append(h.authorization, value)
	case envoy.HeaderAgentID:
		h.agentID = append(h.agentID, value)
	case envoy.HeaderUpgrade:
		h.upgrade = append(h.upgrade, value)
	case envoy.HeaderCookie:
		h.cookies = append(h.cookies, value)
	case envoy.HeaderForwardedFor:
		h.forwardedFor = value
	default:
		return false
	}
	return true
}

// remove adds a name to those that a reply removes, if it can.
func (h *headers) remove(list *[]string, name string) {
	switch {
	case slices.Contains(*list, name):
	case len(*list) == maxHeaderNames || len(name) > maxHeaderNameBytes || !ath.IsToken(name):
		h.unremovable = true
	default:
		*list = append(*list, name)
	}
}

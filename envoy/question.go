package envoy

import (
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
)

// Names of the context extensions by which a route tells where it leads. They
// come from Envoy's configuration; a client cannot set them.
const (
	extProvider = "ath_provider" // the provider's id
	extStream   = "ath_stream"   // the header in which the route takes how long a stream may last; absent: none
	extMount    = "ath_mount"    // the prefix above the provider's API, with both slashes; absent in native mode
)

const (
	headerAuthorization = "authorization"
	headerAgentID       = "x-ath-agent-id"
	headerCookie        = "cookie"
	headerUpgrade       = "upgrade"
	headerPrefix        = "x-ath-"
	headerDecisionID    = "x-ath-decision-id" // of replies

	// Envoy takes 100 headers of a request by default.
	maxHeaderNames     = 100
	maxHeaderNameBytes = 256
)

// Headers of an allow reply that say, in milliseconds, how long the exchange may
// last. The router obeys the second, for streams and WebSockets too, and takes
// it away. The generated routes make it of the first, behind the check: so a
// reply needs no more rights than over x-ath-*.
const (
	headerStream      = "x-ath-stream-ms"
	headerStreamEnvoy = "x-envoy-upstream-stream-duration-ms"
)

// overrideHeaders are those by which some servers take another method or path
// than those of the request line, which are what is judged. None of an agent's
// goes up (P-4, P-7).
var overrideHeaders = [...]string{
	"x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url",
}

// A question is one CheckRequest, read: what is to be decided, and the names
// of the request's headers that must not reach the API.
type question struct {
	authz.Request          // Cookies only where a route is open to people: see [generator.check]
	stream        string   // headerStream or headerStreamEnvoy: where the route takes the stream's rest; "": nowhere
	removes       []string // lower case, sorted, without repetition
	overrides     []string // lower case; of an agent's request only
}

// readCheck reads what arrived of a CheckRequest. It judges nothing; but where
// the message contradicts itself it leaves Path empty, which no decision
// accepts. It reports false where there is no HTTP request in it.
//
// trustedHops is how many proxies in front of Envoy are believed: see
// [ServerConfig].
func readCheck(check *attributes, trustedHops int) (question, bool) {
	if !check.http {
		return question{}, false
	}
	seen := headers{ath: append(make([]string, 0, 4), headerAgentID)} // removed always; in the reply cookie comes before
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
	if check.stream == headerStream || check.stream == headerStreamEnvoy {
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
	overrides   []string // names of overrideHeaders, and of those that identify somebody
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
	case headerAuthorization:
		h.authorization = append(h.authorization, value)
	case headerAgentID:
		h.agentID = append(h.agentID, value)
	case headerUpgrade:
		h.upgrade = append(h.upgrade, value)
	case headerCookie:
		h.cookies = append(h.cookies, value)
	case headerForwardedFor:
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

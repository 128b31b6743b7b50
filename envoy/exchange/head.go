package exchange

import (
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
)

// Limits of the names of a request's headers that are removed: Envoy takes 100
// headers of a request by default.
const (
	MaxHeaderNames     = 100
	MaxHeaderNameBytes = 256
)

// A Route is what Envoy's configuration, and never the request, says of the route:
// see the context extensions of package envoy.
type Route struct {
	Provider, Mount, Stream string
	Runtime                 bool
}

// Beside is what a message of Envoy's says of a request beside its headers.
type Beside struct {
	Method, Path string // where the headers have none
	Host         string // by which Envoy has routed
	Peer         string // the address of the client's connection, as Envoy sees it
	TrustedHops  int    // how many proxies in front of Envoy are believed about that
	Raw          bool   // headers came byte for byte, each value by itself
	StrayToken   bool   // a header strays: see [Strays]
}

// A Question is the head of one request, read: what is to be decided, and the names
// of the request's headers that must not reach the API.
type Question struct {
	authz.Request          // Cookies only where a route is open to people: see envoy/bootstrap
	Stream        string   // envoy.HeaderStream or envoy.HeaderStreamEnvoy: where the route takes the stream's rest; "": nowhere
	Removes       []string // lower case, sorted, without repetition
	Overrides     []string // lower case; of an agent's request only
}

// Question is what has been added. It judges nothing; but where the head contradicts
// itself it leaves Path empty, which no decision accepts.
func (h *Head) Question(r *Route, b *Beside) Question {
	q := Question{Request: authz.Request{
		Host: b.Host, Client: clientOf(b.Peer, h.forwardedFor, b.TrustedHops), Provider: r.Provider, Mount: r.Mount, Runtime: r.Runtime,
		Authorization: h.authorization, AgentID: h.agentID, Cookies: h.cookies, Upgrade: h.upgrade, StrayToken: b.StrayToken,
	}}
	if r.Stream == envoy.HeaderStream || r.Stream == envoy.HeaderStreamEnvoy {
		q.Stream = r.Stream
	}
	q.Removes, q.Overrides = h.ath, h.overrides
	slices.Sort(q.Removes)

	// Envoy Gateway leaves the pseudo headers out of the map.
	q.Method, q.Path = h.method.or(b.Method), h.path.or(b.Path)
	rawPath := b.Raw && h.path.times > 0
	switch {
	case h.method.times > 1 || h.path.times > 1 || h.unremovable:
		q.Path = ""
	case !rawPath:
		q.Blurred = strings.Contains(q.Path, "!")
	}
	return q
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

// A Head collects what matters of a request's headers, every value of each.
type Head struct {
	method, path                    once
	forwardedFor                    string
	authorization, agentID, cookies []string
	upgrade                         []string

	ath         []string // names of the headers that start with x-ath-
	unremovable bool     // one of those, or their number, is nothing that a reply can remove
	overrides   []string // names of envoy.OverrideHeaders, and of those that identify somebody
}

// NewHead returns a head without headers.
func NewHead() Head {
	return Head{ath: append(make([]string, 0, 4), envoy.HeaderAgentID)} // removed always; in the reply cookie comes before
}

// Add adds a header. What a decision does not use is not kept: see [Wanted].
func (h *Head) Add(name, value string) {
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
func (h *Head) addKnown(name, value string) bool {
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
func (h *Head) remove(list *[]string, name string) {
	switch {
	case slices.Contains(*list, name):
	case len(*list) == MaxHeaderNames || len(name) > MaxHeaderNameBytes || !ath.IsToken(name):
		h.unremovable = true
	default:
		*list = append(*list, name)
	}
}

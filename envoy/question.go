package envoy

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/athd/athd/authz"
)

// Names of the context extensions by which a route tells where it leads. They
// come from Envoy's configuration; a client cannot set them.
const (
	extProvider = "ath_provider" // the provider's id
	extMount    = "ath_mount"    // the prefix above the provider's API, with both slashes; absent in native mode
)

const (
	headerAuthorization = "authorization"
	headerAgentID       = "x-ath-agent-id"
	headerPrefix        = "x-ath-"

	// Envoy takes 100 headers of a request by default.
	maxHeaderNames     = 100
	maxHeaderNameBytes = 256
)

// A question is one CheckRequest, read: what is to be decided, and the names
// of the request's headers that must not reach the API.
type question struct {
	authz.Request
	removes []string // lower case, sorted, without repetition
}

// readCheck reads a CheckRequest. It judges nothing; but where the message
// contradicts itself it leaves Path empty, which no decision accepts. It
// reports false where there is no HTTP request in it.
func readCheck(request *authv3.CheckRequest) (question, bool) {
	attributes := request.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	if http == nil {
		return question{}, false
	}
	extensions := attributes.GetContextExtensions()
	q := question{Request: authz.Request{Provider: extensions[extProvider], Mount: extensions[extMount]}}

	var seen headers
	raw := http.GetHeaderMap()
	if raw != nil {
		for _, h := range raw.GetHeaders() {
			seen.add(h.GetKey(), headerValue(h))
		}
	} else {
		for name, value := range http.GetHeaders() {
			seen.add(name, value)
		}
	}
	q.Authorization, q.AgentID = seen.authorization, seen.agentID
	q.removes = slices.Compact(slices.Sorted(slices.Values(append(seen.ath, headerAgentID))))

	// Envoy Gateway leaves the pseudo headers out of the map.
	var rawPath bool
	q.Method, _ = single(seen.method, http.GetMethod())
	q.Path, rawPath = single(seen.path, http.GetPath())
	rawPath = rawPath && raw != nil
	switch {
	case len(seen.method) > 1 || len(seen.path) > 1 || seen.unremovable:
		q.Path = ""
	case !rawPath && exclaims(q.Path):
		q.Path = ""
	}
	return q, true
}

// headerValue: encode_raw_headers fills raw_value only, the default value
// only.
func headerValue(h *corev3.HeaderValue) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}

// single returns the one value there is; without any, the fallback.
func single(values []string, fallback string) (value string, there bool) {
	if len(values) == 0 {
		return fallback, false
	}
	return values[0], true
}

// exclaims reports whether the path holds a '!'. Everywhere but in a raw
// header map Envoy writes one for a byte that is not UTF-8, so that it may
// stand for a byte that goes up to the API unseen.
func exclaims(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	return strings.Contains(path, "!")
}

// headers collects what matters of a request's headers, every value of each.
type headers struct {
	method, path, authorization, agentID []string

	ath         []string // names of the headers that start with x-ath-
	unremovable bool     // one of those, or their number, is nothing that a reply can remove
}

func (h *headers) add(name, value string) {
	name = strings.ToLower(name)
	switch name {
	case ":method":
		h.method = append(h.method, value)
	case ":path":
		h.path = append(h.path, value)
	case headerAuthorization:
		h.authorization = append(h.authorization, value)
	case headerAgentID:
		h.agentID = append(h.agentID, value)
	}
	if !strings.HasPrefix(name, headerPrefix) || slices.Contains(h.ath, name) {
		return
	}
	if len(h.ath) == maxHeaderNames || len(name) > maxHeaderNameBytes || !isToken(name) {
		h.unremovable = true
		return
	}
	h.ath = append(h.ath, name)
}

// isToken reports whether s is a field name (RFC 9110, section 5.1).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return s != ""
}

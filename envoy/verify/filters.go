package verify

import (
	"slices"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/envoy"
)

const httpFilters = "envoy.extensions.filters.http."

// harmless are filters that change neither route nor path nor the headers that
// matter, and write no dynamic metadata that the guard reads; by the names of
// their messages. What header_mutation does is looked at.
var harmless = []string{
	httpFilters + "adaptive_concurrency.v3.AdaptiveConcurrency",
	httpFilters + "admission_control.v3.AdmissionControl",
	httpFilters + "bandwidth_limit.v3.BandwidthLimit",
	httpFilters + "body_size_limit.v3.BodySizeLimit",
	httpFilters + "buffer.v3.Buffer",
	httpFilters + "compressor.v3.Compressor",
	httpFilters + "cors.v3.Cors",
	httpFilters + "csrf.v3.CsrfPolicy",
	httpFilters + "decompressor.v3.Decompressor",
	httpFilters + "ext_authz.v3.ExtAuthz",
	httpFilters + "fault.v3.HTTPFault",
	httpFilters + "grpc_stats.v3.FilterConfig",
	httpFilters + "grpc_web.v3.GrpcWeb",
	httpFilters + "header_mutation.v3.HeaderMutation",
	httpFilters + "health_check.v3.HealthCheck",
	httpFilters + "local_ratelimit.v3.LocalRateLimit",
	httpFilters + "ratelimit.v3.RateLimit",
	httpFilters + "rbac.v3.RBAC",
	httpFilters + "router.v3.Router",
	httpFilters + "set_filter_state.v3.Config",
	httpFilters + "upstream_codec.v3.UpstreamCodec",
	// Istio's own.
	"io.istio.http.peer_metadata.Config",
	"istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
	"stats.PluginConfig",
}

// verifyOrder looks at the filters around the check. Those before it may change
// what they like, since it is judged as they left it, but not write what the
// guard reads. Those behind it must leave alone what was judged.
func (c *chain) verifyOrder() {
	for i, f := range c.filters {
		if f.config == nil || slices.Contains(c.checks, i) {
			continue
		}
		if c.innerHarmless(i, f) {
			continue
		}
		if f.kind == httpFilters+"dynamic_forward_proxy.v3.FilterConfig" && f.disabled {
			continue // but for a route that wakes it
		}
		if strings.Contains(anyText(f.config), envoy.CheckFilter) {
			c.fault(c.at(f), "it names the dynamic metadata of ext_authz: it could write what the guard wants",
				"let it write to another namespace")
			continue
		}
		if f.kind == httpFilters+"set_metadata.v3.Config" {
			continue // to other namespaces
		}
		name := f.kind
		if name == "" {
			name = "unknown"
		}
		if i > c.checkAt {
			c.fault(c.at(f), "behind "+c.asks()+" it may change the route or headers, or see the user's token ("+name+")",
				"move it before "+c.asks()+", or do without it on this listener")
		} else if writesMetadata(f.kind) {
			c.warning(c.at(f), "it runs code that could write the dynamic metadata which the guard reads ("+name+")",
				"trust it as you trust athd, or do without it on this listener")
		}
	}
}

// innerHarmless looks at what a filter is, or makes of others, and reports whether
// nothing more is to be said of it. By which athd itself hears of an exchange is looked
// at elsewhere.
func (c *chain) innerHarmless(at int, f filter) bool {
	list, wrapped := innerOf(f.config)
	if !wrapped {
		list = []inner{{name: f.name, config: f.config}}
	}
	for _, one := range list {
		if _, athd := heardIn(one.config, at); athd {
			continue
		}
		if !slices.Contains(harmless, kindOf(one.config)) {
			return false
		}
		if at > c.checkAt {
			c.verifyMutations(c.at(f), one.config)
		}
	}
	return true
}

// writesMetadata says of a filter before the check whether it could forge what
// the guard reads, in ways that its configuration does not show.
func writesMetadata(kind string) bool {
	return slices.ContainsFunc([]string{"lua.", "wasm.", "ext_proc.", "dynamic_modules.", "golang.", "composite.", "filter_chain."}, func(part string) bool {
		return strings.HasPrefix(strings.TrimPrefix(kind, httpFilters), part)
	})
}

// verifyUpstreamFilter is for filters that run for one attempt, after the router.
func (c *chain) verifyUpstreamFilter(where string, f *hcmv3.HttpFilter) {
	where += " / upstream filter " + envoy.Quote(f.GetName())
	if healing(f.GetName()) {
		c.verifyHealing(where, f.GetTypedConfig())
		return
	}
	if kind := kindOf(f.GetTypedConfig()); !slices.Contains(harmless, kind) {
		c.fault(where, "behind "+c.asks()+" it may change the route or headers, or see the user's token ("+kind+")", "do without it")
		return
	}
	c.verifyMutations(where, f.GetTypedConfig())
}

// verifyMutations looks at header_mutation: it may take away, but not from what
// athd set.
func (c *chain) verifyMutations(where string, config *anypb.Any) {
	var h headersv3.HeaderMutation
	if open(config, &h) {
		c.verifyRequestMutations(where, h.GetMutations())
	}
}

func (c *chain) verifyRequestMutations(where string, m *headersv3.Mutations) {
	for _, one := range m.GetRequestMutations() {
		if header := one.GetAppend().GetHeader().GetKey(); sensitiveHeader(header) {
			c.fault(where, "behind "+c.asks()+" it sets the header "+envoy.Quote(header), "leave it as athd set it")
		}
		if removes(one, envoy.HeaderAuthorization) {
			c.fault(where, "behind "+c.asks()+" it removes authorization, the user's token that athd put in", "remove other headers only")
		}
	}
	if len(m.GetQueryParameterMutations()) > 0 {
		c.fault(where, "behind "+c.asks()+" it changes the query", "leave the path as it was judged")
	}
}

// sensitiveHeader names what decides whose request it is and where it goes.
func sensitiveHeader(name string) bool {
	name = strings.ToLower(name)
	return name == envoy.HeaderAuthorization || name == envoy.HeaderCookie || name == "host" || strings.HasPrefix(name, ":") || strings.HasPrefix(name, envoy.HeaderPrefix)
}

func removes(m *mutationv3.HeaderMutation, name string) bool {
	if r := m.GetRemove(); r != "" {
		return strings.EqualFold(r, name)
	}
	return m.GetRemoveOnMatch() != nil && stringMatches(m.GetRemoveOnMatch().GetKeyMatcher(), name)
}

// verifyTrailers wants all trailers of requests dropped: they are never checked.
func (c *chain) verifyTrailers() {
	for _, f := range c.filters {
		if c.dropsTrailers(f) && !f.disabled {
			return
		}
	}
	c.say(c.ours(), c.where, "trailers of HTTP/2 requests reach APIs, though nothing checks them",
		`add a header_mutation filter with request_trailers_mutations that removes what matches the regex ".*"`)
}

func (c *chain) dropsTrailers(f filter) bool {
	var h headersv3.HeaderMutation
	if !open(f.config, &h) {
		return false
	}
	return slices.ContainsFunc(h.GetMutations().GetRequestTrailersMutations(), func(m *mutationv3.HeaderMutation) bool {
		on := m.GetRemoveOnMatch().GetKeyMatcher()
		// Three names that have nothing in common stand for all.
		return on != nil && stringMatches(on, envoy.HeaderAuthorization) && stringMatches(on, "x-ath-agent-id") && stringMatches(on, "z")
	})
}

// stringMatches evaluates Envoy's matcher. What it cannot read matches nothing.
func stringMatches(m *matcherv3.StringMatcher, s string) bool {
	fold := func(t string) string {
		if m.GetIgnoreCase() {
			return strings.ToLower(t)
		}
		return t
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return fold(s) == fold(p.Exact)
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(fold(s), fold(p.Prefix))
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(fold(s), fold(p.Suffix))
	case *matcherv3.StringMatcher_Contains:
		return strings.Contains(fold(s), fold(p.Contains))
	case *matcherv3.StringMatcher_SafeRegex:
		return regexMatches(p.SafeRegex, s)
	}
	return false
}

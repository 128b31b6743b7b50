package bootstrap

import (
	"slices"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// Names of the HTTP filters, in the order of the chain. A route's settings for
// a filter that is not in the chain are ignored silently.
const (
	headerMutationFilter = "envoy.filters.http.header_mutation"
	bodiesFilter         = "envoy.filters.http.buffer"
	routerFilter         = "envoy.filters.http.router"
)

// filters is the chain: CORS if need be, check, guard, header mutation, bodies of the
// handshake, what run-time providers need, router.
func (g *generator) filters() []*hcmv3.HttpFilter {
	out := append(g.cors(),
		g.judge(),
		g.filter(envoy.GuardFilter, &guardv3.RBAC{Rules: guard("")}),
		// Trailers of a request are never checked, and would reach HTTP/2
		// APIs: all are dropped.
		g.filter(headerMutationFilter, &headersv3.HeaderMutation{Mutations: &headersv3.Mutations{
			RequestTrailersMutations: []*mutationv3.HeaderMutation{removeMatching(&matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: ".*"}},
			})},
		}}),
	)
	out = slices.Concat(out, g.cookies(), g.hearing(), []*hcmv3.HttpFilter{g.bodies()})
	if g.config.RuntimeProviders {
		out = append(out, g.runtimeFilters()...)
	}
	return append(out, g.filter(routerFilter, &routerv3.Router{SuppressEnvoyHeaders: true}))
}

// maxCompanionBytes is what the companion takes of a body.
const maxCompanionBytes = 64 << 10

// bodies reads the whole body of a request before the companion sees any of it,
// so that nobody holds its slots by sending slowly. It sleeps on all other
// routes, where bodies stream.
func (g *generator) bodies() *hcmv3.HttpFilter {
	f := g.filter(bodiesFilter, &bufferv3.Buffer{MaxRequestBytes: wrapperspb.UInt32(maxCompanionBytes)})
	f.Disabled = true
	return f
}

// uncheckedWhole is for the companion's routes: unchecked, with whole bodies.
func (g *generator) uncheckedWhole() perFilter {
	out := g.unchecked()
	out[bodiesFilter] = g.pack(&bufferv3.BufferPerRoute{Override: &bufferv3.BufferPerRoute_Buffer{
		Buffer: &bufferv3.Buffer{MaxRequestBytes: wrapperspb.UInt32(maxCompanionBytes)},
	}})
	return out
}

func (g *generator) filter(name string, m validated) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: g.pack(m)}}
}

// guard admits requests that carry the metadata of our allow reply, and with a
// provider only of one for that provider. Only the ext_authz filter can write
// this metadata.
func guard(provider string) *rbacv3.RBAC {
	name, principal := "athd-allowed", said(envoy.MetaAllow, &matcherv3.ValueMatcher{
		MatchPattern: &matcherv3.ValueMatcher_BoolMatch{BoolMatch: true},
	})
	if provider != "" {
		name = "athd-allowed-" + provider
		principal = &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{
			Ids: []*rbacv3.Principal{principal, said(envoy.MetaProvider, &matcherv3.ValueMatcher{
				MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: exact(provider)},
			})},
		}}}
	}
	return &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW, Policies: map[string]*rbacv3.Policy{name: {
		Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}},
		Principals:  []*rbacv3.Principal{principal},
	}}}
}

func said(key string, value *matcherv3.ValueMatcher) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_SourcedMetadata{SourcedMetadata: &rbacv3.SourcedMetadata{
		MetadataMatcher: &matcherv3.MetadataMatcher{
			Filter: envoy.CheckFilter,
			Path: []*matcherv3.MetadataMatcher_PathSegment{{
				Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key},
			}},
			Value: value,
		},
	}}}
}

// checked is a route to a provider's API: what athd is told of it, what the
// guard wants, and what the API must not see.
func (g *generator) checked(provider, mount string, strip []*mutationv3.HeaderMutation) perFilter {
	extensions := map[string]string{envoy.ExtProvider: provider}
	if mount != "" {
		extensions[envoy.ExtMount] = mount
	}
	return g.checkedBy(guard(provider), extensions, strip)
}

func (g *generator) checkedBy(guard *rbacv3.RBAC, extensions map[string]string, strip []*mutationv3.HeaderMutation) perFilter {
	extensions[envoy.ExtStream] = envoy.HeaderStream
	return perFilter{
		g.judgeName():     g.asked(extensions),
		envoy.GuardFilter: g.pack(&guardv3.RBACPerRoute{Rbac: &guardv3.RBAC{Rules: guard}}),
		headerMutationFilter: g.pack(&headersv3.HeaderMutationPerRoute{
			Mutations: &headersv3.Mutations{RequestMutations: strip},
		}),
	}
}

// unchecked takes check and guard away: for the companion's own routes and
// fixed 404s only.
func (g *generator) unchecked() perFilter {
	return perFilter{
		g.judgeName():     g.unasked(),
		envoy.GuardFilter: g.pack(&guardv3.RBACPerRoute{}),
	}
}

// providerMutations removes, after the check, what is none of a third party's
// business: what of us or of the agent's way here it would show. What
// identifies somebody athd's reply removes, where there is any: to look for it
// here, name by name, cost every request a tenth of Envoy's time.
func providerMutations() []*mutationv3.HeaderMutation {
	out := []*mutationv3.HeaderMutation{
		removePrefix("x-envoy-"), streamRest(), removePrefix(envoy.HeaderPrefix), removePrefix("x-forwarded-"),
	}
	for _, name := range []string{"forwarded", "via", "x-real-ip", "x-request-id", "traceparent", "tracestate", "baggage", "cookie", "http2-settings"} {
		out = append(out, remove(name))
	}
	return out
}

// appMutations leaves an app of the operator's the client's address and trace.
// Cookies are removed by the reply that allows, not here, and so is what
// identifies somebody.
func (g *generator) appMutations(app *provider.App) []*mutationv3.HeaderMutation {
	out := []*mutationv3.HeaderMutation{
		removePrefix("x-envoy-"), streamRest(), removePrefix(envoy.HeaderPrefix), remove("x-request-id"), remove("http2-settings"),
	}
	return append(out, g.protoForApp(app)...)
}

// streamRest hands the rest of the token's life, which an allow of an agent's
// request tells, to the router: it ends the exchange then, a stream or a
// WebSocket too, and takes the header away. Of people's requests there is none,
// and none is made.
func streamRest() *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: envoy.HeaderStreamEnvoy, Value: "%REQ(" + envoy.HeaderStream + ")%"},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}}}
}

func remove(name string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: name}}
}

func removePrefix(p string) *mutationv3.HeaderMutation { return removeMatching(startsWith(p)) }

func removeMatching(m *matcherv3.StringMatcher) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{
		RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{KeyMatcher: m},
	}}
}

func exact(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

func contains(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: s}}
}

func startsWith(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: s}}
}

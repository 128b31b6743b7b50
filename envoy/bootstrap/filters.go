package bootstrap

import (
	"slices"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
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

// authzSeconds is how long Envoy waits for a decision. athd's own deadline
// towards its store is well under it.
const authzSeconds = 1

// filters is the chain: CORS if need be, check, guard, header mutation, bodies of the
// handshake, router.
func (g *generator) filters() []*hcmv3.HttpFilter {
	return append(g.cors(),
		g.filter(envoy.CheckFilter, g.check()),
		g.filter(envoy.GuardFilter, &guardv3.RBAC{Rules: guard("")}),
		// Trailers of a request are never checked, and would reach HTTP/2
		// APIs: all are dropped.
		g.filter(headerMutationFilter, &headersv3.HeaderMutation{Mutations: &headersv3.Mutations{
			RequestTrailersMutations: []*mutationv3.HeaderMutation{removeMatching(&matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: ".*"}},
			})},
		}}),
		g.bodies(),
		g.filter(routerFilter, &routerv3.Router{SuppressEnvoyHeaders: true}),
	)
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

// check asks athd, and lets the reply change no header but those that it has to.
func (g *generator) check() *extauthzv3.ExtAuthz {
	tell, hide := g.told()
	return &extauthzv3.ExtAuthz{
		TransportApiVersion: corev3.ApiVersion_V3,
		FailureModeAllow:    false,
		StatusOnError:       &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		Services: &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
			Timeout:         seconds(authzSeconds),
			RetryPolicy:     g.asksAgain(),
			InitialMetadata: g.perTry(),
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: authzCluster},
			},
		}},
		// Raw: the other form joins headers of one name, and writes '!' for
		// what is not UTF-8, so that the path judged would not be the path sent.
		EncodeRawHeaders:  true,
		AllowedHeaders:    &matcherv3.ListStringMatcher{Patterns: tell},
		DisallowedHeaders: &matcherv3.ListStringMatcher{Patterns: hide},
		ValidateMutations: true,
		// An allow-list: "disallow_system" lets content-length through.
		DecoderHeaderMutationRules: &mutationv3.HeaderMutationRules{
			DisallowAll:     yes(),
			AllowExpression: &matcherv3.RegexMatcher{Regex: mayChange},
			DisallowIsError: yes(),
		},
	}
}

// mayChange is a pattern for the headers that athd's reply sets or removes. Those
// of envoy.IdentityHeaders are among them, by a pattern that Envoy takes, which limits
// their size: so beginnings must do. X-Envoy-* is not, nor what says where a request comes from.
const mayChange = "^(authorization|cookie|(x-([cgpv]o|[ah]t|[mw]e|[msu]s|a[mu]|cl|or|re[mw]|forwarded-([aceigu]|prefe))|remote-|cf-a|ssl-|tails)[!-~]*)$"

// opensToPeople reports whether an app takes requests without an ATH token.
func (g *generator) opensToPeople() bool {
	return slices.ContainsFunc(g.config.Providers.Apps(), func(p *provider.Provider) bool { return p.App.Passthrough })
}

// told says which headers Envoy tells athd, and which of them not after all:
// those that the decision needs, and those in which people put a token by
// mistake, which athd refuses. To tell all of them would cost athd and Envoy a
// fifth more for each request.
func (g *generator) told() (tell, hide []*matcherv3.StringMatcher) {
	tell = []*matcherv3.StringMatcher{exact(":method"), exact(":path"), exact(envoy.HeaderUpgrade), exact("referer"), startsWith("x-")}
	// Headers that identify somebody: of an agent's request athd's reply removes
	// them. Those that begin with x- are told anyway.
	for _, p := range envoy.IdentityPlainPrefixes {
		tell = append(tell, startsWith(p))
	}
	for _, word := range []string{"auth", "token", "key", "secret", "session", "credential"} {
		tell = append(tell, contains(word)) // Authorization among them
	}
	// Envoy's own, which nobody else can send.
	hide = []*matcherv3.StringMatcher{startsWith("x-envoy-"), exact("x-request-id"), exact("x-forwarded-proto")}
	if g.config.TrustedHops == 0 {
		hide = append(hide, exact(envoy.HeaderForwardedFor))
	}
	if g.opensToPeople() {
		// Ours are cut out of people's cookies, which else are nobody's business.
		tell = append(tell, exact(envoy.HeaderCookie))
	}
	return tell, hide
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
	extensions := map[string]string{envoy.ExtProvider: provider, envoy.ExtStream: envoy.HeaderStream}
	if mount != "" {
		extensions[envoy.ExtMount] = mount
	}
	return perFilter{
		envoy.CheckFilter: g.pack(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_CheckSettings{
			CheckSettings: &extauthzv3.CheckSettings{ContextExtensions: extensions},
		}}),
		envoy.GuardFilter: g.pack(&guardv3.RBACPerRoute{Rbac: &guardv3.RBAC{Rules: guard(provider)}}),
		headerMutationFilter: g.pack(&headersv3.HeaderMutationPerRoute{
			Mutations: &headersv3.Mutations{RequestMutations: strip},
		}),
	}
}

// unchecked takes check and guard away: for the companion's own routes and
// fixed 404s only.
func (g *generator) unchecked() perFilter {
	return perFilter{
		envoy.CheckFilter: g.pack(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_Disabled{Disabled: true}}),
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

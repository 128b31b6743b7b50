package verifyenvoy

import (
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// asked edits the ext_authz filter.
func asked(change func(*extauthzv3.ExtAuthz)) func(*Config) {
	return func(c *Config) {
		c.Filter(check, func(f *hcmv3.HttpFilter) { edit(f.GetTypedConfig(), &extauthzv3.ExtAuthz{}, change) })
	}
}

func ofTheCheck() []Mutation {
	part := &corev3.RuntimeFractionalPercent{
		DefaultValue: &typev3.FractionalPercent{Numerator: 99}, RuntimeKey: "athd.check",
	}
	return []Mutation{
		{Name: "failure_mode_allow", Do: asked(func(e *extauthzv3.ExtAuthz) { e.FailureModeAllow = true }), Finds: []string{"failure_mode_allow lets requests through"}},
		{Name: "shadow_mode", Do: asked(func(e *extauthzv3.ExtAuthz) { e.ShadowMode = true }), Finds: []string{"shadow_mode asks athd and does not obey"}},
		{Name: "filter_enabled at 99 %", Do: asked(func(e *extauthzv3.ExtAuthz) { e.FilterEnabled = part }), Finds: []string{"filter_enabled checks a part"}},
		{Name: "filter_enabled_metadata", Do: asked(func(e *extauthzv3.ExtAuthz) {
			e.FilterEnabledMetadata = &matcherv3.MetadataMatcher{
				Filter: "other", Path: []*matcherv3.MetadataMatcher_PathSegment{{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: "k"}}},
				Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}},
			}
		}), Finds: []string{"filter_enabled_metadata checks"}},
		{Name: "raw headers off", Do: asked(func(e *extauthzv3.ExtAuthz) { e.EncodeRawHeaders = false }), Finds: []string{"headers are not told raw"}},
		{Name: "authorization not told", Do: asked(func(e *extauthzv3.ExtAuthz) {
			e.DisallowedHeaders.Patterns = append(e.DisallowedHeaders.Patterns, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "authorization"}})
		}), Finds: []string{`not told the header "authorization"`}},
		{Name: "a header with a token not told", Do: asked(func(e *extauthzv3.ExtAuthz) {
			e.DisallowedHeaders.Patterns = append(e.DisallowedHeaders.Patterns, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "referer"}})
		}), Finds: []string{"athd is not told the headers in which an ATH token may be by mistake"}, Warning: true},
		{Name: "who somebody is not told", Do: asked(func(e *extauthzv3.ExtAuthz) {
			e.DisallowedHeaders.Patterns = append(e.DisallowedHeaders.Patterns, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "remote-"}})
		}), Finds: []string{`the API sees "remote-user"`}, Warning: true},
		{Name: ":path not told", Do: asked(func(e *extauthzv3.ExtAuthz) {
			e.DisallowedHeaders = &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "path"}}}}
		}), Finds: []string{`not told the header ":path"`}},
		{Name: "mutations of any header", Do: asked(func(e *extauthzv3.ExtAuthz) { e.DecoderHeaderMutationRules = nil }), Finds: []string{"a reply may change any header"}},
		{Name: "mutations of system headers", Do: asked(func(e *extauthzv3.ExtAuthz) { e.DecoderHeaderMutationRules.DisallowAll = nil }), Finds: []string{`a reply may change "content-length"`}},
		{Name: "mutations of too few headers", Do: asked(func(e *extauthzv3.ExtAuthz) { e.DecoderHeaderMutationRules.AllowExpression.Regex = "x-ath-.*" }),
			Finds: []string{`may not change "authorization"`, `may not change "cookie"`, `the API sees "x-forwarded-user"`, `the API sees "x-auth-request-user"`,
				`the API sees "remote-user"`, `the API sees "cf-access-user"`, `the API sees "ssl-client-verify"`, `the API sees "tailscale-user-login"`}},
		{Name: "mutations not validated", Do: asked(func(e *extauthzv3.ExtAuthz) { e.ValidateMutations = false }), Finds: []string{"is not validated"}},
		{Name: "clear_route_cache", Do: asked(func(e *extauthzv3.ExtAuthz) { e.ClearRouteCache = true }), Finds: []string{"the route is chosen again"}},
		{Name: "no timeout", Do: asked(func(e *extauthzv3.ExtAuthz) { e.GetGrpcService().Timeout = nil }), Finds: []string{"it has no timeout"}, Warning: true},
		{Name: "a timeout of ten minutes", Do: asked(func(e *extauthzv3.ExtAuthz) { e.GetGrpcService().Timeout = durationpb.New(10 * time.Minute) }), Finds: []string{"waits longer than 5 s"}, Warning: true},
		{Name: "no status_on_error", Do: asked(func(e *extauthzv3.ExtAuthz) { e.StatusOnError = nil }), Finds: []string{"agents are told 403"}, Warning: true},
		{Name: "bodies told", Do: asked(func(e *extauthzv3.ExtAuthz) {
			e.WithRequestBody = &extauthzv3.BufferSettings{MaxRequestBytes: 1024, AllowPartialMessage: true}
		}), Finds: []string{"it sends bodies to athd"}, Warning: true},
		{Name: "optional", Do: func(c *Config) { c.Filter(check, func(f *hcmv3.HttpFilter) { f.IsOptional = true }) }, Finds: []string{"ext_authz is optional"}},
		{Name: "disabled by default", Do: func(c *Config) {
			c.Filter(check, func(f *hcmv3.HttpFilter) { f.Disabled = true })
			c.Route("app_"+App, func(r *routev3.Route) { delete(r.TypedPerFilterConfig, check) })
		}, Finds: []string{"ext_authz is disabled"}},
		{Name: "disabled on a route", Do: onProvider(func(r *routev3.Route) {
			r.TypedPerFilterConfig[check] = pack(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_Disabled{Disabled: true}})
		}), Finds: []string{"ext_authz is disabled"}},
		{Name: "disabled on a route by FilterConfig", Do: onProvider(func(r *routev3.Route) {
			r.TypedPerFilterConfig[check] = pack(&routev3.FilterConfig{Disabled: true})
		}), Finds: []string{"ext_authz is disabled"}},
		{Name: "disabled on the virtual host", Do: func(c *Config) {
			c.Host(func(h *routev3.VirtualHost) {
				h.TypedPerFilterConfig = map[string]*anyOf{check: pack(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_Disabled{Disabled: true}})}
				for _, r := range h.Routes {
					if r.Name == "app_"+App {
						delete(r.TypedPerFilterConfig, check)
					}
				}
			})
		}, Finds: []string{"ext_authz is disabled"}},
		{Name: "another service on a route", Do: onApp(func(r *routev3.Route) {
			edit(r.TypedPerFilterConfig[check], &extauthzv3.ExtAuthzPerRoute{}, func(p *extauthzv3.ExtAuthzPerRoute) {
				p.GetCheckSettings().ServiceOverride = &extauthzv3.CheckSettings_GrpcService{GrpcService: &corev3.GrpcService{
					TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "athd_companion"}},
				}}
			})
		}), Finds: []string{"it asks another service"}},
		{Name: "no provider told", Do: onApp(func(r *routev3.Route) { delete(r.TypedPerFilterConfig, check) }), Finds: []string{"does not tell athd which"}},
		{Name: "another provider told", Hidden: true, Do: onProvider(telling("ath_provider", App)),
			Finds: []string{`athd is told "shop"`, "the guard wants athd's yes to", "leads to", "is rewritten", "the host is rewritten"}},
		{Name: "another mount told", Hidden: true, Do: onProvider(telling("ath_mount", "/ath/")), Finds: []string{`athd is told the mount "/ath/"`}},
		{Name: "a mount told where there is none", Do: onApp(telling("ath_mount", "/shop/")), Finds: []string{"athd is told a mount, but the route has none"}},
	}
}

func telling(name, value string) func(*routev3.Route) {
	return func(r *routev3.Route) {
		edit(r.TypedPerFilterConfig[check], &extauthzv3.ExtAuthzPerRoute{}, func(p *extauthzv3.ExtAuthzPerRoute) {
			p.GetCheckSettings().ContextExtensions[name] = value
		})
	}
}

// guarded edits the guard of the route to the provider.
func guarded(change func(*guardv3.RBACPerRoute)) func(*Config) {
	return onProvider(func(r *routev3.Route) { edit(r.TypedPerFilterConfig[guard], &guardv3.RBACPerRoute{}, change) })
}

func ofTheGuard() []Mutation {
	return []Mutation{
		{Name: "no guard", Do: func(c *Config) {
			c.Manager(func(m *hcmv3.HttpConnectionManager) {
				m.HttpFilters = slices.DeleteFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.Name == guard })
			})
		}, Finds: []string{"there is no guard", `settings for the filter "envoy.filters.http.rbac", which is not in the chain`}},
		{Name: "the guard before the check", Do: func(c *Config) {
			c.Manager(func(m *hcmv3.HttpConnectionManager) {
				m.HttpFilters[0], m.HttpFilters[1] = m.HttpFilters[1], m.HttpFilters[0]
			})
		}, Finds: []string{"the guard stands before ext_authz"}},
		{Name: "a guard that is only tried", Do: guarded(func(p *guardv3.RBACPerRoute) { p.Rbac.ShadowRules, p.Rbac.Rules = p.Rbac.Rules, nil }), Finds: []string{"only tried"}},
		{Name: "a guard that is taken away", Do: onProvider(func(r *routev3.Route) { r.TypedPerFilterConfig[guard] = pack(&guardv3.RBACPerRoute{}) }), Finds: []string{"the guard is disabled"}},
		{Name: "a guard that is inherited", Do: onProvider(func(r *routev3.Route) { delete(r.TypedPerFilterConfig, guard) }), Finds: []string{"does not want the provider"}},
		{Name: "a guard for another provider", Do: func(c *Config) {
			var of *anyOf
			c.Route("app_"+App, func(r *routev3.Route) { of = r.TypedPerFilterConfig[guard] })
			c.Route("proxy_"+Provider, func(r *routev3.Route) { r.TypedPerFilterConfig[guard] = of })
		}, Finds: []string{`the guard wants athd's yes to "shop"`}},
		{Name: "a guard with a second door", Do: guarded(func(p *guardv3.RBACPerRoute) {
			p.Rbac.Rules.Policies["monitoring"] = &rbacv3.Policy{
				Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}},
				Principals: []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Header{Header: &routev3.HeaderMatcher{
					Name: "x-monitor", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
				}}}},
			}
		}), Finds: []string{"does not want athd's yes"}},
		{Name: "a guard that logs", Do: guarded(func(p *guardv3.RBACPerRoute) { p.Rbac.Rules.Action = rbacv3.RBAC_LOG }), Finds: []string{"does not want athd's yes"}},
		{Name: "a guard turned around", Do: guarded(func(p *guardv3.RBACPerRoute) { p.Rbac.Rules.Action = rbacv3.RBAC_DENY }), Finds: []string{"does not want athd's yes"}},
	}
}

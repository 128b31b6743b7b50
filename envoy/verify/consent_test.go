package verify_test

import (
	"slices"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/test/e2e/verifyenvoy"
	"github.com/athd/athd/test/harness/envoyconfig"
)

// S-5
func TestVerifyWantsTheConsentPagesAlone(t *testing.T) {
	c := envoyconfig.Variants(t)["consent apart"]
	expect := verify.Expectation{Providers: c.Providers, Authz: c.Authz, ConsentHost: ath.RequestedHost("consent.localhost")}
	consent := func(change func(*routev3.VirtualHost)) func(*verifyenvoy.Config) {
		return func(c *verifyenvoy.Config) {
			c.Manager(func(m *hcmv3.HttpConnectionManager) {
				for _, h := range m.GetRouteConfig().VirtualHosts {
					if h.Name == "consent" {
						change(h)
					}
				}
			})
		}
	}
	route := func(h *routev3.VirtualHost, name string) *routev3.Route {
		for _, r := range h.Routes {
			if r.Name == name {
				return r
			}
		}
		t.Fatalf("no route %q", name)
		return nil
	}
	for name, test := range map[string]struct {
		mutate func(*verifyenvoy.Config)
		finds  string
		worst  verify.Severity
	}{
		"as bootstrap writes it": {func(*verifyenvoy.Config) {}, "", ""},
		"no virtual host": {consent(func(h *routev3.VirtualHost) { h.Domains = []string{"other.example"} }),
			`the consent pages' host "consent.localhost" has no virtual host`, verify.Fault},
		"an app beside the pages": {consent(func(h *routev3.VirtualHost) {
			nothing := route(h, "not_found")
			nothing.Action = &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "provider_shop"}}}
		}), "it leads away from athd on the consent pages' host", verify.Fault},
		"the whole handshake beside the pages": {consent(func(h *routev3.VirtualHost) {
			route(h, "consent").Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/ath/"}
		}), `on the consent pages' host it also leads "/ath/authorize" to athd`, verify.Warning},
		"no page": {consent(func(h *routev3.VirtualHost) {
			route(h, "consent").Match.PathSpecifier = &routev3.RouteMatch_Path{Path: "/ath/callback"}
		}), `does not lead "/ath/consent/start" to athd`, verify.Fault},
		"no callback": {consent(func(h *routev3.VirtualHost) {
			route(h, "consent").Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/ath/consent/"}
		}), `does not lead "/ath/callback" to athd`, verify.Fault},
		"the pages elsewhere, too": {func(c *verifyenvoy.Config) {
			c.Route("companion", func(r *routev3.Route) {
				r.Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "/ath/(authorize|callback|token|revoke)|/ath/(agents|consent|admin)/.*"}}
			})
		}, "it leads the consent pages' paths to athd on another host", verify.Warning},
		"one page elsewhere, too": {func(c *verifyenvoy.Config) {
			c.Route("companion", func(r *routev3.Route) {
				r.Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "/ath/(authorize|callback|token|revoke)|/ath/(agents|heal|admin)/.*"}}
			})
		}, "it leads the consent pages' paths to athd on another host", verify.Warning},
		"no page of links that heal, as before there were any": {consent(func(h *routev3.VirtualHost) {
			route(h, "consent").Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "/ath/callback(/[^/]+)?|/ath/consent/.*"}}
		}), `does not lead "/ath/heal/…" to athd`, verify.Fault},
	} {
		t.Run(name, func(t *testing.T) {
			config := verifyenvoy.Config{Bootstrap: envoyconfig.Parse(t, envoyconfig.Generate(t, c))}
			test.mutate(&config)
			v := verified(t, dumpOf(t, config.Bootstrap), expect)
			if test.finds == "" {
				if len(v.Findings) > 0 {
					t.Errorf("%+v", v.Findings)
				}
				return
			}
			mustFind(t, v, test.finds)
			if bad := slices.ContainsFunc(v.Findings, func(f verify.Finding) bool { return f.Severity == verify.Fault }); bad != (test.worst == verify.Fault) {
				t.Errorf("%+v", v.Findings)
			}
		})
	}
}

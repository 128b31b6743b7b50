package bootstrap_test

import (
	"regexp"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/test/harness/envoyconfig"
)

// checkRuntimeRoute wants of the run-time providers' route what checkRoute wants of
// a provider's.
func checkRuntimeRoute(t *testing.T, route *routev3.Route, guard *guardv3.RBACPerRoute) {
	t.Helper()
	extensions, disabled := told(t, route)
	if disabled || len(extensions) != 2 || extensions[envoy.ExtRuntime] != "true" || extensions[envoy.ExtStream] != envoy.HeaderStream {
		t.Errorf("route %q: its check is told %v (disabled: %v)", route.Name, extensions, disabled)
	}
	policies := guard.GetRbac().GetRules().GetPolicies()
	if len(policies) != 1 {
		t.Errorf("route %q: the guard is %v", route.Name, guard.GetRbac())
	}
	for _, p := range policies {
		wanted := map[string]bool{}
		for _, id := range p.GetPrincipals()[0].GetAndIds().GetIds() {
			wanted[id.GetSourcedMetadata().GetMetadataMatcher().GetPath()[0].GetKey()] = true
		}
		if len(p.Principals) != 1 || !wanted[envoy.MetaAllow] || !wanted[envoy.MetaProvider] || !wanted[envoy.MetaHost] || p.Condition == nil {
			t.Errorf("route %q: the guard admits by %v", route.Name, p)
		}
	}
	action := route.GetRoute()
	if action.GetTimeout() == nil || action.GetTimeout().AsDuration() != 0 || action.GetIdleTimeout().AsDuration() == 0 || action.GetRetryPolicy().GetRetryOn() != envoy.RetryMarked {
		t.Errorf("route %q: streams would be cut, or live in silence, or requests repeated: %v", route.Name, action)
	}
	if route.Name != envoy.RuntimeRoute || route.Match.GetPathSeparatedPrefix() != "/ath/proxy" || action.PrefixRewrite != "" || action.HostRewriteSpecifier != nil {
		t.Errorf("route %q: %v", route.Name, route)
	}
	for _, filter := range []string{"envoy.filters.http.header_mutation", envoy.TransportFilter, envoy.LookupFilter} {
		if route.TypedPerFilterConfig[filter] == nil {
			t.Errorf("route %q has nothing for the filter %s", route.Name, filter)
		}
	}
}

// runtimeWord is how a route says that it is that of the run-time providers.
func runtimeWord(c bootstrap.Config) string {
	if c.ByExtProc {
		return envoy.StreamRuntime
	}
	return envoy.ExtRuntime
}

// Whoever sets envoy.runtime_providers to false has the configuration of before.
func TestOnlyRunTimeProvidersLeaveItToTheReplyWhereARequestGoes(t *testing.T) {
	for name, c := range everyVariant(t) {
		t.Run(name, func(t *testing.T) {
			text := string(envoyconfig.Generate(t, c))
			for _, of := range []string{":p?a", envoy.RuntimeCluster, envoy.EgressFilter, envoy.LookupFilter, runtimeWord(c), envoy.MetaHost} {
				if got := strings.Contains(text, of); got != c.RuntimeProviders {
					t.Errorf("%s is in it: %v", of, got)
				}
			}
			if got := strings.Contains(text, "proxy_unknown"); got == c.RuntimeProviders {
				t.Errorf("the route that leads nowhere is in it: %v", got)
			}
			if got, want := strings.Contains(text, "raw_buffer"), c.Egress.AllowsHTTP(); got != want {
				t.Errorf("there is a way without TLS: %v", got)
			}
		})
	}
}

// On every route but one the filters of run-time providers sleep.
func TestOtherRoutesKnowNothingOfRunTimeProviders(t *testing.T) {
	for name, c := range everyVariant(t) {
		if !c.RuntimeProviders {
			continue
		}
		t.Run(name, func(t *testing.T) {
			m := envoyconfig.Manager(t, envoyconfig.Parse(t, envoyconfig.Generate(t, c)))
			asleep := 0
			for _, f := range m.HttpFilters {
				if f.Name == envoy.TransportFilter || f.Name == envoy.LookupFilter {
					asleep++
					if !f.Disabled {
						t.Errorf("the filter %s runs on all routes", f.Name)
					}
				}
			}
			if asleep != 2 {
				t.Errorf("%d of the filters are there", asleep)
			}
			for _, host := range m.GetRouteConfig().VirtualHosts {
				last := ""
				for _, r := range host.Routes {
					wakes := r.TypedPerFilterConfig[envoy.TransportFilter] != nil || r.TypedPerFilterConfig[envoy.LookupFilter] != nil
					if wakes != (r.Name == envoy.RuntimeRoute) {
						t.Errorf("route %q wakes them: %v", r.Name, wakes)
					}
					if last == envoy.RuntimeRoute && strings.HasPrefix(r.Name, "proxy_") {
						t.Errorf("route %q is behind that of the run-time providers, and never taken", r.Name)
					}
					last = r.Name
				}
			}
			may := ""
			for _, f := range m.HttpFilters {
				var check extauthzv3.ExtAuthz
				if f.GetTypedConfig().MessageIs(&check) {
					envoyconfig.Unpack(t, f.GetTypedConfig(), &check)
					may = check.GetDecoderHeaderMutationRules().GetAllowExpression().GetRegex()
				}
				if f.Name == envoy.JudgeFilter {
					may = envoyconfig.Unpack(t, f.GetTypedConfig(), &extprocv3.ExternalProcessor{}).GetMutationRules().GetAllowExpression().GetRegex()
				}
			}
			rule := regexp.MustCompile(may)
			for header, want := range map[string]bool{":path": true, ":authority": true, ":method": false, ":protocol": false, ":status": false, ":scheme": false, "host": false, "x-envoy-original-dst-host": false, "content-length": false} {
				if rule.MatchString(header) != want {
					t.Errorf("a reply may set %s: %v", header, !want)
				}
			}
		})
	}
}

package verify_test

import (
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/test/harness/envoyconfig"
)

func TestARouteShadowsOnlyWhatItTakesWhole(t *testing.T) {
	match := func(text string) *routev3.RouteMatch {
		m := &routev3.RouteMatch{}
		if err := protojson.Unmarshal([]byte(text), m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	for _, c := range []struct {
		first, later string
		want         bool
	}{
		{`{"prefix": "/"}`, `{"prefix": "/api/"}`, true},
		{`{"prefix": "/"}`, `{"safe_regex": {"regex": ".*"}}`, false},
		{`{"prefix": "/"}`, `{"prefix": ""}`, false},
		{`{"prefix": "/"}`, `{"prefix": "/API/", "case_sensitive": false}`, true},
		{`{"prefix": "/"}`, `{"connect_matcher": {}}`, false},
		{`{"prefix": "/api/"}`, `{"prefix": "/api/x"}`, true},
		{`{"prefix": "/api/"}`, `{"prefix": "/api"}`, false},
		{`{"prefix": "/api/"}`, `{"prefix": "/api/x", "case_sensitive": false}`, false},
		{`{"prefix": "/api/", "case_sensitive": false}`, `{"prefix": "/api/x"}`, false},
		{`{"prefix": "/api/", "headers": [{"name": "x"}]}`, `{"prefix": "/api/"}`, false},
		{`{"prefix": "/api/", "grpc": {}}`, `{"prefix": "/api/"}`, false},
		{`{"prefix": "/api/", "runtime_fraction": {"default_value": {"numerator": 1}}}`, `{"prefix": "/api/"}`, false},
		{`{"prefix": "/api/"}`, `{"prefix": "/api/", "headers": [{"name": "x"}]}`, true},
		{`{"path_separated_prefix": "/api"}`, `{"prefix": "/api/"}`, true},
		{`{"path_separated_prefix": "/api"}`, `{"prefix": "/api"}`, false},
		{`{"path_separated_prefix": "/api"}`, `{"prefix": "/apis"}`, false},
		{`{"path_separated_prefix": "/api"}`, `{"path": "/api"}`, true},
		{`{"path_separated_prefix": "/api"}`, `{"path_separated_prefix": "/api"}`, true},
		{`{"path_separated_prefix": "/api"}`, `{"path_separated_prefix": "/api/v1"}`, true},
		{`{"path_separated_prefix": "/api"}`, `{"safe_regex": {"regex": "/api/.*"}}`, false},
		{`{"path": "/a"}`, `{"path": "/a"}`, true},
		{`{"path": "/a"}`, `{"prefix": "/a"}`, false},
		{`{"safe_regex": {"regex": ".*"}}`, `{"prefix": "/a"}`, false},
	} {
		if got := verify.Shadows(match(c.first), match(c.later)); got != c.want {
			t.Errorf("%s before %s: %v", c.first, c.later, got)
		}
	}
}

// An unchecked route to an API is a way around athd where a request can take it,
// and none behind a route that takes them all.
func TestARouteThatNothingReachesIsNoWayAroundAthd(t *testing.T) {
	c := envoyconfig.Variants(t)["native"]
	expect := verify.Expectation{Providers: c.Providers, Authz: c.Authz}
	stray := &routev3.Route{
		Name: "old", Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/blog/x"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "provider_blog"}}},
	}
	for behind, want := range map[bool]bool{true: false, false: true} {
		b := envoyconfig.Parse(t, envoyconfig.Generate(t, c))
		m := envoyconfig.Manager(t, b)
		for _, h := range m.GetRouteConfig().VirtualHosts {
			if h.Name != "blog.example.com" {
				continue
			}
			at := 0
			if behind {
				at = 1 + slices.IndexFunc(h.Routes, func(r *routev3.Route) bool { return r.Name == "app_blog" })
			}
			h.Routes = slices.Insert(h.Routes, at, stray)
		}
		if err := b.StaticResources.Listeners[0].FilterChains[0].Filters[0].GetTypedConfig().MarshalFrom(m); err != nil {
			t.Fatal(err)
		}
		found := slices.ContainsFunc(verified(t, dumpOf(t, b), expect).Findings, func(f verify.Finding) bool {
			return strings.Contains(f.Where, `route "old"`) && f.Severity == verify.Fault
		})
		if found != want {
			t.Errorf("behind the app's route: %v, found: %v", behind, found)
		}
	}
}

package verify_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/e2e/verifyenvoy"
	"github.com/athd/athd/test/harness/envoyconfig"
)

// withParts adds parts to a dump.
func withParts(t *testing.T, dump []byte, parts ...any) []byte {
	t.Helper()
	var root struct {
		Configs []any `json:"configs"`
	}
	if err := json.Unmarshal(dump, &root); err != nil {
		t.Fatal(err)
	}
	root.Configs = append(root.Configs, parts...)
	out, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func raw(t *testing.T, m proto.Message) json.RawMessage {
	t.Helper()
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const admin = "type.googleapis.com/envoy.admin.v3."

// What Envoy fetched is read as what it was started with.
func TestVerifyReadsFetchedRoutes(t *testing.T) {
	c := envoyconfig.Variants(t)["both"]
	for _, kind := range []string{"rds", "scoped"} {
		t.Run(kind, func(t *testing.T) {
			config := verifyenvoy.Config{Bootstrap: envoyconfig.Parse(t, envoyconfig.Generate(t, c))}
			var routes *routev3.RouteConfiguration
			config.Manager(func(m *hcmv3.HttpConnectionManager) {
				routes = m.GetRouteConfig()
				m.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: routes.Name}}
				if kind == "scoped" {
					m.RouteSpecifier = &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{Name: "all"}}
				}
			})
			scopes := map[string]any{"@type": admin + "ScopedRoutesConfigDump", "dynamic_scoped_route_configs": []any{
				map[string]any{"name": "all", "scoped_route_configs": []any{map[string]any{"name": "one", "route_configuration_name": routes.Name}}},
			}}
			fetched := func() any {
				return map[string]any{"@type": admin + "RoutesConfigDump", "dynamic_route_configs": []any{map[string]any{"route_config": raw(t, routes)}}}
			}
			expect := verify.Expectation{Providers: c.Providers, Authz: c.Authz}
			if v := verified(t, withParts(t, dumpOf(t, config.Bootstrap), scopes, fetched()), expect); len(v.Findings) > 0 || v.Routes < 20 {
				t.Errorf("%+v", v)
			}
			for _, r := range routes.VirtualHosts[0].Routes {
				if r.Name == "proxy_github" {
					r.GetRoute().PrefixRewrite = "/x/"
				}
			}
			mustFind(t, verified(t, withParts(t, dumpOf(t, config.Bootstrap), scopes, fetched()), expect), `is rewritten to "/x/"`)
			mustFind(t, verified(t, dumpOf(t, config.Bootstrap), expect), "no route leads to it")
		})
	}
}

func mustFind(t *testing.T, v verify.Verification, what string) {
	t.Helper()
	if !slices.ContainsFunc(v.Findings, func(f verify.Finding) bool { return strings.Contains(f.What, what) }) {
		t.Errorf("not found: %s\n%+v", what, v.Findings)
	}
}

// The settings of a route are its own or those of its virtual host.
func TestVerifyReadsInheritedSettings(t *testing.T) {
	c := envoyconfig.Variants(t)["native"]
	config := verifyenvoy.Config{Bootstrap: envoyconfig.Parse(t, envoyconfig.Generate(t, c))}
	config.Host(func(h *routev3.VirtualHost) {
		for _, r := range h.Routes {
			if r.Name == "app_shop" {
				h.TypedPerFilterConfig, r.TypedPerFilterConfig = r.TypedPerFilterConfig, nil
			}
		}
		h.Routes = slices.DeleteFunc(h.Routes, func(r *routev3.Route) bool { return strings.HasPrefix(r.Name, "proxy_") })
	})
	v := verified(t, dumpOf(t, config.Bootstrap), verify.Expectation{Providers: c.Providers, Authz: c.Authz})
	if len(v.Findings) > 0 {
		t.Errorf("%+v", v.Findings)
	}
}

// A guard is judged by what it lets through, not by how it is written.
func TestVerifyJudgesGuardsByTheirMeaning(t *testing.T) {
	said := func(key string, value *matcherv3.ValueMatcher) *matcherv3.MetadataMatcher {
		return &matcherv3.MetadataMatcher{Filter: "envoy.filters.http.ext_authz", Value: value, Path: []*matcherv3.MetadataMatcher_PathSegment{
			{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key}},
		}}
	}
	yes := said("ath_allow", &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_BoolMatch{BoolMatch: true}})
	github := said("provider", &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "github"}}}})
	noYes := proto.Clone(yes).(*matcherv3.MetadataMatcher)
	noYes.Invert = true

	id := func(m *matcherv3.MetadataMatcher) *rbacv3.Principal {
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_SourcedMetadata{SourcedMetadata: &rbacv3.SourcedMetadata{MetadataMatcher: m}}}
	}
	old := func(m *matcherv3.MetadataMatcher) *rbacv3.Principal {
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Metadata{Metadata: m}}
	}
	and := func(list ...*rbacv3.Principal) *rbacv3.Principal {
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: list}}}
	}
	or := func(list ...*rbacv3.Principal) *rbacv3.Principal {
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: &rbacv3.Principal_Set{Ids: list}}}
	}
	not := func(p *rbacv3.Principal) *rbacv3.Principal {
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: p}}
	}
	anyone := &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
	everything := &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}
	forGitHub := &rbacv3.Permission{Rule: &rbacv3.Permission_Metadata{Metadata: github}}
	rules := func(action rbacv3.RBAC_Action, what *rbacv3.Permission, who ...*rbacv3.Principal) *rbacv3.RBAC {
		return &rbacv3.RBAC{Action: action, Policies: map[string]*rbacv3.Policy{"p": {Permissions: []*rbacv3.Permission{what}, Principals: who}}}
	}
	routed := id(github)
	routed.GetSourcedMetadata().MetadataSource = rbacv3.MetadataSource_ROUTE

	all := envoyconfig.Variants(t)["gateway"]
	good := envoyconfig.Parse(t, envoyconfig.Generate(t, all))
	const allow, deny = rbacv3.RBAC_ALLOW, rbacv3.RBAC_DENY
	for _, c := range []struct {
		name  string
		rules *rbacv3.RBAC
		finds string // "": nothing
	}{
		{"both", rules(allow, everything, and(id(yes), id(github))), ""},
		{"both, in the old spelling", rules(allow, everything, and(old(github), old(yes))), ""},
		{"one as permission, one as principal", rules(allow, forGitHub, id(yes)), ""},
		{"both, twice", rules(allow, everything, and(id(yes), id(github)), and(id(github), id(yes), anyone)), ""},
		{"both, nested", rules(allow, everything, and(or(id(yes), and(id(yes), anyone)), id(github))), ""},
		{"not either not", rules(allow, everything, not(or(not(id(yes)), not(id(github))))), ""},
		{"deny what is not both", rules(deny, everything, not(and(id(yes), id(github)))), ""},
		{"deny no yes, deny not github", rules(deny, everything, id(noYes), not(id(github))), ""},
		{"either", rules(allow, everything, or(id(yes), id(github))), "does not want athd's yes"},
		{"one principal of two", rules(allow, everything, id(yes), id(github)), "does not want athd's yes"},
		{"an inverted yes", rules(allow, everything, and(id(noYes), id(github))), "does not want athd's yes"},
		{"a denied yes", rules(deny, everything, id(yes)), "does not want athd's yes"},
		{"the yes alone", rules(allow, everything, id(yes)), "does not want the provider"},
		{"the provider of the route, not of the reply", rules(allow, everything, and(id(yes), routed)), "does not want the provider"},
		{"everybody", rules(allow, everything, anyone), "does not want athd's yes"},
		{"nobody", rules(allow, everything), "the guard refuses everything"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := verifyenvoy.Config{Bootstrap: proto.Clone(good).(*bootstrapv3.Bootstrap)}
			config.Route("proxy_github", func(r *routev3.Route) {
				a, err := anypb.New(&guardv3.RBACPerRoute{Rbac: &guardv3.RBAC{Rules: c.rules}})
				if err != nil {
					t.Fatal(err)
				}
				r.TypedPerFilterConfig["envoy.filters.http.rbac"] = a
			})
			v := verified(t, dumpOf(t, config.Bootstrap), verify.Expectation{Providers: all.Providers})
			switch {
			case c.finds == "" && len(v.Findings) > 0, c.finds != "" && len(v.Findings) != 1:
				t.Errorf("%+v", v.Findings)
			case c.finds != "":
				mustFind(t, v, c.finds)
			}
		})
	}
}

// Tools reprint dumps in camel case, meshes wrap what Envoy does not know, and
// neither hides a fault.
func TestVerifyReadsOtherSpellings(t *testing.T) {
	c := envoyconfig.Variants(t)["gateway"]
	expect := verify.Expectation{Providers: c.Providers, Authz: c.Authz}
	dump := dumpOf(t, envoyconfig.Parse(t, envoyconfig.Generate(t, c)))
	camel := dump
	for _, name := range []string{"static_listeners", "filter_chains", "typed_config", "http_filters", "route_config", "virtual_hosts", "static_clusters", "load_assignment"} {
		first, rest, _ := strings.Cut(name, "_")
		camel = bytes.ReplaceAll(camel, []byte(`"`+name+`"`), []byte(`"`+first+strings.ToUpper(rest[:1])+rest[1:]+`"`))
	}
	if v := verified(t, camel, expect); bytes.Equal(camel, dump) || len(v.Findings) > 0 || v.Clusters < 3 {
		t.Errorf("in camel case: %+v", v)
	}

	edit := func(from, to string) []byte {
		compact := new(bytes.Buffer)
		if err := json.Compact(compact, dump); err != nil || !bytes.Contains(compact.Bytes(), []byte(from)) {
			t.Fatalf("%v, or nothing to edit: %s", err, from)
		}
		return bytes.Replace(compact.Bytes(), []byte(from), []byte(to), 1)
	}
	const router = `{"name":"envoy.filters.http.router"`
	added := func(config string) []byte { return edit(router, `{"name":"added","typed_config":`+config+`},`+router) }
	for _, c := range []struct {
		name, config, finds string
	}{
		{"an unknown filter", `{"@type":"type.googleapis.com/example.Magic","x":{"@type":"type.googleapis.com/example.Other"}}`, "(example.Magic)"},
		{"a wrapped unknown filter", `{"@type":"type.googleapis.com/udpa.type.v1.TypedStruct","type_url":"type.googleapis.com/example.Magic","value":{"a":1}}`, "(example.Magic)"},
		{"a wrapped filter that is harmless", `{"@type":"type.googleapis.com/xds.type.v3.TypedStruct","type_url":"type.googleapis.com/stats.PluginConfig","value":{}}`, ""},
		{"a wrapped filter that sets authorization", `{"@type":"type.googleapis.com/xds.type.v3.TypedStruct","type_url":"envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
			"value":{"mutations":{"request_mutations":[{"append":{"header":{"key":"authorization","value":"x"}}}]}}}`, `it sets the header "authorization"`},
	} {
		v := verified(t, added(c.config), expect)
		if c.finds == "" && len(v.Findings) > 0 {
			t.Errorf("%s: %+v", c.name, v.Findings)
		} else if c.finds != "" {
			mustFind(t, v, c.finds)
		}
	}
	mustFind(t, verified(t, edit(`"normalize_path":true`, `"normalize_path":true,"from_the_future":1`), expect), "something that this program does not know")
	mustFind(t, verified(t, edit(`"normalize_path":true`, `"normalize_path":{"a":"list"}`), expect), "cannot be read")
	mustFind(t, verified(t, edit(`"static_clusters":[{`, `"static_clusters":[{"error_state":{"details":"x"},`), expect), "Envoy refused the last update")
}

// meshDump is what an Envoy of a mesh says that asks athd about everything;
// more is added to its check.
func meshDump(more string) []byte {
	return []byte(`{"configs":[{"@type":"` + admin + `ListenersConfigDump","dynamic_listeners":[{"name":"0.0.0.0_8080","active_state":{"listener":{
		"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"0.0.0.0_8080","filter_chains":[{"filters":[{
		"name":"envoy.filters.network.http_connection_manager","typed_config":{
		"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix":"in","rds":{"route_config_name":"http.8080"},"normalize_path":true,"http_filters":[
		{"name":"envoy.filters.http.rbac","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC","shadow_rules":{}}},
		{"name":"envoy.filters.http.ext_authz","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
		"grpc_service":{"envoy_grpc":{"cluster_name":"outbound|9001||athd"},"timeout":"600s"}` + more + `}},
		{"name":"istio.alpn","typed_config":{"@type":"type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"}},
		{"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}}}]},
		{"@type":"` + admin + `RoutesConfigDump","dynamic_route_configs":[{"route_config":{"@type":"type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
		"name":"http.8080","virtual_hosts":[{"name":"shop","domains":["shop.example","shop.example:8080"],"routes":[` + handshakeRoutes + `{"match":{"prefix":"/"},"route":{"cluster":"outbound|8080||shop"}}]},
		{"name":"other","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"outbound|8080||shop2"}}]}]}}]},
		{"@type":"` + admin + `EndpointsConfigDump","dynamic_endpoint_configs":[{"endpoint_config":{"cluster_name":"outbound|9001||athd",
		"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"10.0.0.9","port_value":9001}}}}]}]}}]},
		{"@type":"` + admin + `ClustersConfigDump","dynamic_active_clusters":[
		{"cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"outbound|9001||athd","type":"EDS","http2_protocol_options":{}}},
		{"cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"outbound|9000||athd","type":"EDS"}},
		{"cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"outbound|8080||shop","type":"EDS"}}]}]}`)
}

// handshakeRoutes lead to athd in meshDump.
const handshakeRoutes = `{"match":{"safe_regex":{"regex":"/\\.well-known/ath(-app)?\\.json"}},"route":{"cluster":"outbound|9000||athd"}},
	{"match":{"path_separated_prefix":"/ath"},"route":{"cluster":"outbound|9000||athd"}},`

// A mesh finds providers by host and path: no route names one, and what a mesh
// cannot say is no fault.
func TestVerifyOfAMesh(t *testing.T) {
	shop := envoyconfig.AppProvider(t, "shop", "http://shop.default.svc.cluster.local:8080", "", "shop.example")
	expect := verify.Expectation{Providers: envoyconfig.Set(t, shop), ByHost: true, Authz: []string{"10.0.0.9:9001"}}
	v := verified(t, meshDump(""), expect)
	for _, f := range v.Findings {
		if f.Severity == verify.Fault {
			t.Errorf("%+v", f)
		}
	}
	for _, want := range []string{"there is no guard", "headers are not told raw", "waits longer than 5 s", "endpoints are not in the dump", "few requests", "in plaintext"} {
		mustFind(t, v, want)
	}
	v = verified(t, meshDump(`,"failure_mode_allow":true`), expect)
	mustFind(t, v, "failure_mode_allow lets requests through")
	if v.Findings[0].Severity != verify.Fault {
		t.Errorf("faults do not come first: %+v", v.Findings)
	}
}

func TestVerifyRefusesWhatIsNoDump(t *testing.T) {
	expect := verify.Expectation{Providers: envoyconfig.Set(t)}
	for _, dump := range []string{"", "x", "[]", "{}", `{"configs":[]}`, `{"configs":[{"@type":"` + admin + `ListenersConfigDump"}]}`, `{"configs":{"a":1}}`} {
		if _, err := verify.Verify([]byte(dump), expect); err == nil {
			t.Errorf("%q was taken", dump)
		}
	}
	whole := fmt.Sprintf(`{"configs":[{"@type":"%sListenersConfigDump"},{"@type":"%sClustersConfigDump"}]}`, admin, admin)
	if _, err := verify.Verify([]byte(whole), expect); err != nil {
		t.Error(err)
	}
	if _, err := verify.Verify([]byte(whole), verify.Expectation{}); err == nil {
		t.Error("providers were not missed")
	}
	if _, err := verify.Verify([]byte(whole), verify.Expectation{Providers: envoyconfig.Set(t), Authz: []string{"nowhere"}}); err == nil {
		t.Error("an address that is none was taken")
	}
}

// An encoded slash goes to providers that want it, and Envoy must let it.
func TestVerifyKnowsWhoWantsEncodedSlashes(t *testing.T) {
	forge := &provider.Provider{ID: "forge", APIBase: envoyconfig.MustURL(t, "https://forge.example"), EncodedSlash: true}
	c := envoyconfig.Variants(t)["gateway"]
	c.Providers = envoyconfig.Set(t, forge)
	config := verifyenvoy.Config{Bootstrap: envoyconfig.Parse(t, envoyconfig.Generate(t, c))}
	for action, finds := range map[hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction]string{
		hcmv3.HttpConnectionManager_KEEP_UNCHANGED:       "",
		hcmv3.HttpConnectionManager_REJECT_REQUEST:       "%2F in a path is refused",
		hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD: "%2F in a path becomes a slash",
	} {
		config.Manager(func(m *hcmv3.HttpConnectionManager) { m.PathWithEscapedSlashesAction = action })
		v := verified(t, dumpOf(t, config.Bootstrap), verify.Expectation{Providers: c.Providers})
		if finds == "" && len(v.Findings) > 0 {
			t.Errorf("%v: %+v", action, v.Findings)
		} else if finds != "" {
			mustFind(t, v, finds)
		}
	}
}

// Whatever a dump holds, reading it ends, and the same dump gives the same
// findings.
func FuzzVerify(f *testing.F) {
	expect := verify.Expectation{
		Providers: envoyconfig.Set(f, envoyconfig.GatewayProvider(f, "plain", "http://127.0.0.1:9999/base/"),
			envoyconfig.AppProvider(f, "shop", "http://shop.default.svc.cluster.local:8080", "", "shop.example")),
		Authz: []string{"10.0.0.9:9001"}, Runtime: true, Egress: egress.Policy{Allow: []egress.Exception{{Addresses: netip.MustParsePrefix("127.0.0.1/32"), Port: 3000, HTTP: true}}},
	}
	f.Add(meshDump(`,"clear_route_cache":true`)) // small: a whole one is slow to search from
	f.Add([]byte(`{"configs":[{"@type":"` + admin + `ListenersConfigDump","static_listeners":[{"listener":{"filter_chains":[{"filters":[{"typed_config":{"@type":"x"}}]}]}}]},` +
		`{"@type":"` + admin + `ClustersConfigDump","static_clusters":[{"cluster":{"@type":"type.googleapis.com/udpa.type.v1.TypedStruct"}}]}]}`))
	// What asks for run-time providers is in no dump of a mesh.
	f.Add(dumpOf(f, envoyconfig.Parse(f, envoyconfig.Generate(f, envoyconfig.Variants(f)["run time, by http too"]))))
	f.Fuzz(func(t *testing.T, dump []byte) {
		one, err := verify.Verify(dump, expect)
		if err != nil {
			return
		}
		again, err := verify.Verify(dump, expect)
		if err != nil || !slices.Equal(one.Findings, again.Findings) {
			t.Errorf("%v, or two readings differ", err)
		}
	})
}

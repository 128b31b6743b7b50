package verify_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/envoyconfig"
)

const passesToAnAPI = "pass without a token, and this route leads it to a provider"

// In a mesh athd lets pass what it answers itself: none of that may lead to an
// API.
func TestVerifyFindsAthdsPathsAtAnAPI(t *testing.T) {
	const (
		api   = `"route":{"cluster":"outbound|8080||shop"}`
		athd  = `"route":{"cluster":"outbound|9000||athd"}`
		gone  = `"direct_response":{"status":404}`
		below = `{"match":{"prefix":"/ath/"},`
		known = `{"match":{"safe_regex":{"regex":"/\\.well-known/.*"}},`
	)
	folders := func(names ...string) (out string) {
		for _, name := range names {
			out += `{"match":{"prefix":"/ath/` + name + `/"},` + athd + `},`
		}
		return out
	}
	whole := func(paths ...string) (out string) {
		for _, path := range paths {
			out += `{"match":{"path":"` + path + `"},` + athd + `},`
		}
		return out
	}
	const discovery, appDiscovery = "/.well-known/ath.json", "/.well-known/ath-app.json"
	calls := whole(discovery, appDiscovery, "/ath/authorize", "/ath/callback", "/ath/token", "/ath/revoke")
	butAdmin := calls + folders("agents", "consent", "heal")
	extra := func(what string) string {
		return strings.Replace(below, `"}`, `",`+what+`}`, 1)
	}
	shop := envoyconfig.AppProvider(t, "shop", "http://shop.default.svc.cluster.local:8080", "", "shop.example")
	part := envoyconfig.AppProvider(t, "shop", "http://shop.default.svc.cluster.local:8080", "/api", "shop.example")
	for _, tt := range []struct {
		name, routes string // before that of "/" to the shop
		app          *provider.Provider
		finds        string // the path; "": nothing
	}{
		{"all lead to athd", butAdmin + folders("admin"), shop, ""},
		{"no route but the API's", "", shop, discovery},
		{"no operators", butAdmin, shop, "/ath/admin/…"},
		{"no operators, and a 404", butAdmin + below + gone + `},`, shop, ""},
		{"no operators, and a redirect", butAdmin + below + `"redirect":{"path_redirect":"/"}},`, shop, ""},
		{"a 404 for all", known + gone + `},` + below + gone + `},`, shop, ""},
		{"a 404 that comes too late", butAdmin + `{"match":{"prefix":"/ath/a"},` + api + `},` + below + gone + `},`, shop, "/ath/admin/…"},
		{"no agents", calls + folders("consent", "heal", "admin"), shop, "/ath/agents/…"},
		{"no consent", calls + folders("agents", "heal", "admin"), shop, "/ath/consent/start"},
		{"no healing, as before there was any", calls + folders("agents", "consent", "admin"), shop, "/ath/heal/…"},
		{"no discovery", below + athd + `},` + whole(appDiscovery), shop, discovery},
		{"no discovery of the app", below + athd + `},` + whole(discovery), shop, appDiscovery},
		{"no calls", known + athd + `},` + folders("agents", "consent", "heal", "admin"), shop, "/ath/authorize"},
		{"no callback", strings.Replace(calls, "/ath/callback", "/ath/other", 1) + folders("agents", "consent", "heal", "admin"), shop, "/ath/callback"},
		{"no token call", strings.Replace(calls, "/ath/token", "/ath/token/", 1) + folders("agents", "consent", "heal", "admin"), shop, "/ath/token"},
		{"no revocation", strings.Replace(calls, "/ath/revoke", "/ath/REVOKE", 1) + folders("agents", "consent", "heal", "admin"), shop, "/ath/revoke"},
		{"another case, which does not matter there", butAdmin + `{"match":{"prefix":"/ATH/Admin/","case_sensitive":false},` + gone + `},`, shop, ""},
		{"a folder by its segments", butAdmin + `{"match":{"path_separated_prefix":"/ath/admin"},` + athd + `},`, shop, ""},
		{"a part of a segment", butAdmin + `{"match":{"path_separated_prefix":"/ath/adm"},` + athd + `},`, shop, "/ath/admin/…"},
		{"a pattern of a part of the path", butAdmin + `{"match":{"safe_regex":{"regex":"/ath/admin/"}},` + athd + `},`, shop, "/ath/admin/…"},
		{"to athd with a header only", butAdmin + extra(`"headers":[{"name":"x-y","present_match":true}]`) + athd + `},`, shop, "/ath/admin/…"},
		{"to athd with a parameter only", butAdmin + extra(`"query_parameters":[{"name":"x","present_match":true}]`) + athd + `},`, shop, "/ath/admin/…"},
		{"to athd sometimes", butAdmin + extra(`"runtime_fraction":{"default_value":{"numerator":50}}`) + athd + `},`, shop, "/ath/admin/…"},
		{"to the API with a header only", `{"match":{"prefix":"/","headers":[{"name":"x-y","present_match":true}]},` + api + `},` + below + athd + `},` + known + athd + `},`, shop, discovery},
		{"to the API by a pattern", butAdmin + `{"match":{"safe_regex":{"regex":"/ath/.*"}},` + api + `},`, shop, "/ath/admin/…"},
		{"to athd by a pattern of more", `{"match":{"safe_regex":{"regex":"/(ath|\\.well-known)/.*"}},` + athd + `},`, shop, ""},
		{"an app below a prefix", known + gone + `},` + below + gone + `},{"match":{"path_separated_prefix":"/api"},` + api + `},`, part, ""},
		{"the rest of the app's Service", `{"match":{"path_separated_prefix":"/api"},` + api + `},`, part, discovery},
		{"a part of the requests", known + athd + `},` + below + `"route":{"weighted_clusters":{"clusters":[{"name":"outbound|9000||athd","weight":9},{"name":"outbound|8080||shop","weight":1}]}}},`, shop, "/ath/authorize"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dump := string(meshDump(""))
			if strings.Count(dump, handshakeRoutes) != 1 {
				t.Fatal("the dump has changed")
			}
			v := verified(t, []byte(strings.Replace(dump, handshakeRoutes, tt.routes, 1)), verify.Expectation{Providers: envoyconfig.Set(t, tt.app), ByHost: true})
			var got []string
			for _, f := range v.Findings {
				if strings.Contains(f.What, passesToAnAPI) {
					got = append(got, f.What)
					if f.Severity != verify.Fault || !strings.Contains(f.Where, `virtual host "shop" / route of "`) {
						t.Errorf("%+v", f)
					}
				}
			}
			switch {
			case tt.finds == "" && len(got) > 0:
				t.Errorf("found %q", got)
			case tt.finds != "" && (len(got) != 1 || got[0] != fmt.Sprintf("athd lets %q "+passesToAnAPI+" (shop)", tt.finds)):
				t.Errorf("found %q, want %s", got, tt.finds)
			}
		})
	}
}

// A route that tells athd its provider, or whose guard wants one, is not open
// to what athd says of its own paths; one that is not checked at all is another
// fault.
func TestVerifyFindsAthdsPathsAtAnAPIWhereTheyPass(t *testing.T) {
	const (
		filters = "type.googleapis.com/envoy.extensions.filters.http."
		route   = `"match":{"prefix":"/"},"route":{"cluster":"outbound|8080||shop"}`
		router  = `{"name":"envoy.filters.http.router"`
	)
	told := func(config string) string {
		return `"envoy.filters.http.ext_authz":{"@type":"` + filters + `ext_authz.v3.ExtAuthzPerRoute",` + config + `}`
	}
	wants := func(key, value string) string {
		return `{"metadata":{"filter":"envoy.filters.http.ext_authz","path":[{"key":"` + key + `"}],"value":` + value + `}}`
	}
	guard := func(who ...string) string {
		return `{"name":"guard","typed_config":{"@type":"` + filters + `rbac.v3.RBAC","rules":{"policies":{"p":{
			"permissions":[{"any":true}],"principals":[{"and_ids":{"ids":[` + strings.Join(who, ",") + `]}}]}}}}},`
	}
	yes, forShop := wants("ath_allow", `{"bool_match":true}`), wants("provider", `{"string_match":{"exact":"shop"}}`)
	shop := envoyconfig.AppProvider(t, "shop", "http://shop.default.svc.cluster.local:8080", "", "shop.example")
	for _, tt := range []struct {
		name, settings, guard string
		finds                 bool
	}{
		{"nothing is told", "", "", true},
		{"something else is told", told(`"check_settings":{"context_extensions":{"a":"b"}}`), "", true},
		{"the provider is told", told(`"check_settings":{"context_extensions":{"ath_provider":"shop"}}`), "", false},
		{"the provider is told, as a dump shows it", told(`"check_settings":{"context_extensions":{"ath_provider":"[redacted]"}}`), "", false},
		{"a guard wants athd's yes", "", guard(yes), true},
		{"a guard wants the provider", "", guard(yes, forShop), false},
		{"it is not checked", told(`"disabled":true`), "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dump := string(meshDump(""))
			for old, new := range map[string]string{
				handshakeRoutes: "",
				route:           route + `,"typed_per_filter_config":{` + tt.settings + `}`,
				router:          tt.guard + router,
			} {
				if strings.Count(dump, old) != 1 {
					t.Fatalf("the dump has changed: %s", old)
				}
				dump = strings.Replace(dump, old, new, 1)
			}
			v := verified(t, []byte(dump), verify.Expectation{Providers: envoyconfig.Set(t, shop), ByHost: true})
			if tt.finds {
				mustFind(t, v, passesToAnAPI)
				return
			}
			for _, f := range v.Findings {
				if strings.Contains(f.What, passesToAnAPI) {
					t.Errorf("%+v", f)
				}
			}
			if tt.settings == told(`"disabled":true`) {
				mustFind(t, v, "ext_authz is disabled")
			}
		})
	}
}

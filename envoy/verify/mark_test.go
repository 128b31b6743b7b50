package verify_test

import (
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/test/e2e/verifyenvoy"
	"github.com/athd/athd/test/harness/envoyconfig"
)

// Istio's CUSTOM policies mark requests by shadow rules, and ext_authz asks
// about those that are marked: about each, if a rule matches everything.
func TestVerifyReadsIstiosMarks(t *testing.T) {
	const (
		everything  = `"permissions":[{"and_rules":{"rules":[{"any":true}]}}],"principals":[{"and_ids":{"ids":[{"any":true}]}}]`
		butOpen     = `"permissions":[{"and_rules":{"rules":[{"not_rule":{"url_path":{"path":{"prefix":"/open"}}}}]}}],"principals":[{"any":true}]`
		fromNobody  = `"permissions":[{"any":true}],"principals":[{"or_ids":{"ids":[{"authenticated":{}}]}}]`
		marked      = `,"filter_enabled_metadata":{"filter":"envoy.filters.http.rbac","path":[{"key":"istio_ext_authz_shadow_effective_policy_id"}],"value":{"string_match":{"prefix":"istio-ext-authz"}}}`
		notAll      = "filter_enabled_metadata checks requests with some metadata only"
		stat        = `,"shadow_rules_stat_prefix":"istio_ext_authz_"`
		policyOf    = `"istio-ext-authz-ns[a]-policy[athd]-rule[0]"`
		anotherName = `"athd"`
	)
	rules := func(action, name, policy string) string {
		return `"shadow_rules":{"action":"` + action + `","policies":{` + name + `:{` + policy + `}}}`
	}
	expect := verify.Expectation{
		Providers: envoyconfig.Set(t, envoyconfig.AppProvider(t, "shop", "http://shop.default.svc.cluster.local:8080", "", "shop.example")),
		ByHost:    true, Authz: []string{"10.0.0.9:9001"},
	}
	for _, tt := range []struct {
		name, shadow, mark, finds string
	}{
		{"every request", rules("DENY", policyOf, everything) + stat, marked, ""},
		{"every path but some", rules("DENY", policyOf, butOpen) + stat, marked, notAll},
		{"nobody", rules("DENY", policyOf, fromNobody) + stat, marked, notAll},
		{"none at all", rules("DENY", policyOf, `"permissions":[],"principals":[]`) + stat, marked, notAll},
		{"every request, one of them by another name", `"shadow_rules":{"action":"DENY","policies":{` + anotherName + `:{` + butOpen + `},` + policyOf + `:{` + everything + `}}}` + stat, marked, notAll},
		{"every request, under a condition", rules("DENY", policyOf, everything+`,"condition":{"const_expr":{"bool_value":false}}`) + stat, marked, notAll},
		{"rules that allow", rules("ALLOW", policyOf, everything) + stat, marked, notAll},
		{"marks of another prefix", rules("DENY", policyOf, everything), marked, notAll},
		{"rules that are kept, not tried", strings.Replace(rules("DENY", policyOf, everything), "shadow_", "", 1) + stat, marked, notAll},
		{"no mark in the name", rules("DENY", anotherName, everything) + stat, marked, notAll},
		{"any mark", rules("DENY", policyOf, everything) + stat, strings.Replace(marked, `{"prefix":"istio-ext-authz"}`, `{"exact":"x"}`, 1), notAll},
		{"the opposite", rules("DENY", policyOf, everything) + stat, strings.Replace(marked, `"value":`, `"invert":true,"value":`, 1), notAll},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dump := string(meshDump(tt.mark))
			if strings.Count(dump, `"shadow_rules":{}`) != 1 {
				t.Fatal("the dump has changed")
			}
			v := verified(t, []byte(strings.Replace(dump, `"shadow_rules":{}`, tt.shadow, 1)), expect)
			if tt.finds != "" {
				mustFind(t, v, tt.finds)
				return
			}
			for _, f := range v.Findings {
				if f.Severity == verify.Fault {
					t.Errorf("%+v", f)
				}
			}
		})
	}
	t.Run("a route that is not marked", func(t *testing.T) {
		dump := strings.Replace(string(meshDump(marked)), `"shadow_rules":{}`, rules("DENY", policyOf, everything)+stat, 1)
		const route = `"match":{"prefix":"/"},"route":{"cluster":"outbound|8080||shop"}`
		if strings.Count(dump, route) != 1 {
			t.Fatal("the dump has changed")
		}
		mustFind(t, verified(t, []byte(strings.Replace(dump, route, route+`,"typed_per_filter_config":{"envoy.filters.http.rbac":{`+
			`"@type":"type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"}}`, 1)), expect), "by whose mark ext_authz knows what to check")
	})
}

// Envoy Gateway has an ext_authz filter for each policy, which sleeps but on
// the routes of the policy.
func TestVerifyReadsOneCheckForEachPolicy(t *testing.T) {
	expect := verify.Expectation{
		Providers: envoyconfig.Set(t, envoyconfig.AppProvider(t, "shop", "http://shop.default.svc.cluster.local:8080", "", "shop.example")),
		ByHost:    true, Authz: []string{"10.0.0.9:9001"},
	}
	const (
		check = `{"name":"envoy.filters.http.ext_authz","typed_config":{`
		route = `"match":{"prefix":"/"},"route":{"cluster":"outbound|8080||shop"}`
		wakes = `{"@type":"type.googleapis.com/envoy.config.route.v3.FilterConfig","config":{}}`
	)
	// dump has two checks, a and b, both asleep; the route to the shop wakes some.
	dump := func(t *testing.T, edit *strings.Replacer, names ...string) []byte {
		text := string(meshDump(""))
		at := strings.Index(text, check)
		one := text[at : at+strings.Index(text[at:], "}},\n")+len("}}")]
		sleeps := func(name string) string {
			return strings.Replace(one, `"envoy.filters.http.ext_authz"`, `"`+name+`","disabled":true`, 1)
		}
		b := sleeps("b")
		if edit != nil {
			b = edit.Replace(b)
		}
		text = text[:at] + sleeps("a") + ",\n" + b + text[at+len(one):]
		var settings []string
		for _, name := range names {
			settings = append(settings, `"`+name+`":`+wakes)
		}
		if strings.Count(text, route) != 1 || !strings.Contains(one, `"grpc_service"`) {
			t.Fatal("the dump has changed")
		}
		return []byte(strings.Replace(text, route, route+`,"typed_per_filter_config":{`+strings.Join(settings, ",")+`}`, 1))
	}
	worse := strings.NewReplacer(`"grpc_service"`, `"failure_mode_allow":true,"grpc_service"`)
	faults := func(v verify.Verification) (all []string) {
		for _, f := range v.Findings {
			if f.Severity == verify.Fault {
				all = append(all, f.What)
			}
		}
		return all
	}
	for _, tt := range []struct {
		name  string
		edit  *strings.Replacer
		wake  []string
		finds string
	}{
		{"the first", nil, []string{"a"}, ""},
		{"the second", nil, []string{"b"}, ""},
		{"a fault of one that nobody wakes", worse, []string{"a"}, ""},
		{"a fault of the one that is woken", worse, []string{"b"}, "failure_mode_allow lets requests through"},
		{"both", nil, []string{"a", "b"}, "there are two ext_authz filters"},
		{"none", nil, nil, "ext_authz is disabled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := faults(verified(t, dump(t, tt.edit, tt.wake...), expect))
			switch {
			case tt.finds == "" && len(got) > 0:
				t.Errorf("found %q", got)
			case tt.finds != "" && (len(got) == 0 || !strings.Contains(strings.Join(got, "\n"), tt.finds)):
				t.Errorf("found %q, want %q", got, tt.finds)
			}
		})
	}
}

// Envoy Gateway cuts off a mount by a pattern where the API is at the root.
func TestVerifyReadsMountsThatAPatternCutsOff(t *testing.T) {
	const mount = "/ath/proxy/forge"
	for _, tt := range []struct {
		name, base, prefix, pattern, becomes string
		fault                                bool
	}{
		{"as Envoy Gateway writes it", "https://forge.example", mount, "^" + mount + `\/*`, "/", false},
		{"an API below a base", "https://forge.example/api", mount, "^" + mount + `\/*`, "/", true},
		{"to another path", "https://forge.example", mount, "^" + mount + `\/*`, "/admin/", true},
		{"by more than the mount", "https://forge.example", mount, "^" + mount + `\/[^/]*`, "/", true},
		{"anywhere in the path", "https://forge.example", mount, mount + `\/*`, "/", true},
		{"of another mount", "https://forge.example", mount, `^/ath/proxy/other\/*`, "/", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := envoyconfig.Variants(t)["gateway"]
			c.Providers = envoyconfig.Set(t, envoyconfig.GatewayProvider(t, "forge", tt.base))
			config := verifyenvoy.Config{Bootstrap: envoyconfig.Parse(t, envoyconfig.Generate(t, c))}
			config.Route("proxy_forge", func(r *routev3.Route) {
				r.Match.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: tt.prefix}
				r.GetRoute().PrefixRewrite = ""
				r.GetRoute().RegexRewrite = &matcherv3.RegexMatchAndSubstitute{
					Pattern: &matcherv3.RegexMatcher{Regex: tt.pattern}, Substitution: tt.becomes,
				}
			})
			v := verified(t, dumpOf(t, config.Bootstrap), verify.Expectation{Providers: c.Providers})
			if tt.fault {
				mustFind(t, v, "the path is rewritten by a pattern")
			} else if len(v.Findings) > 0 {
				t.Errorf("%+v", v.Findings)
			}
		})
	}
}

package into_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/athd/athd/envoy/into"
	"github.com/athd/athd/test/harness/envoyconfig"
)

// What cannot be done safely is refused, with the line and what to do: a way
// around the check above all.
//
// proves: P-1
func TestWhatCannotBeDoneSafelyIsRefused(t *testing.T) {
	replace := func(pairs ...string) func(string) string {
		return func(s string) string {
			for i := 0; i < len(pairs); i += 2 {
				s = strings.Replace(s, pairs[i], pairs[i+1], 1)
			}
			return s
		}
	}
	// setting adds lines to the connection manager, from line 15 on.
	setting := func(lines string) func(string) string {
		return replace("          stat_prefix: http\n", "          stat_prefix: http\n"+lines)
	}
	const router = "          - name: envoy.filters.http.router\n"
	filter := func(name, kind string) func(string) string {
		return replace(router, "          - name: "+name+"\n            typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http."+kind+"}\n"+router)
	}
	// second adds a listener like the first.
	second := func(name, port string) func(string) string {
		return func(s string) string {
			at, end := strings.Index(s, "  - name: http\n"), strings.Index(s, "  clusters:\n")
			return s[:end] + replace("name: http\n", "name: "+name+"\n", "8080", port)(s[at:end]) + s[end:]
		}
	}
	for _, c := range []struct {
		name   string
		do     func(string) string
		config func(*into.Config)
		at     string // how the line begins; "": none is named
		says   string
		next   string
	}{
		{"nothing", func(string) string { return "" }, nil, "", "no YAML", ""},
		{"a list", func(string) string { return "- a\n" }, nil, "", "no configuration of Envoy's", "envoy -c"},
		{"JSON", func(string) string { return ` {"static_resources": {}}` }, nil, "", "it is JSON", "write it as YAML"},
		{"two documents", func(s string) string { return s + "---\na: b\n" }, nil, "", "no YAML that Envoy can read", "envoy --mode validate"},
		{"a tab", replace("  clusters:", "\tclusters:"), nil, "clusters:", "no YAML", ""},
		{"a template", replace("name: website", "name: {{ .Website }}"), nil, "- name: {{ .Website }}", "", ""},
		{"bytes that are not UTF-8", replace("website", "web\xff"), nil, "", "not UTF-8", "save it as UTF-8"},
		{"a key that is there twice", replace("  clusters:\n", "  clusters:\n  - name: x\n    name: y\n"), nil, "name: y", `"name" is there already, in line 42`, "leave one"},
		{"a merge key", replace("- name: blog", "- <<: {name: blog}"), nil, "- <<: {name", "merge keys", "write out"},
		{"marks that do not end", replace("  clusters:\n", "  # athd:begin\n  clusters:\n"), nil, "# athd:begin", "does not end", "put back"},
		{"marks that do not begin", replace("  clusters:\n", "  # athd:end\n  clusters:\n"), nil, "# athd:end", "not begun", "put back"},
		{"marks in marks", replace("  clusters:\n", "  # athd:begin x\n # athd:begin\n # athd:end\n  clusters:\n"), nil, "# athd:begin", "nested", "put back"},

		{"listeners from a control plane", func(s string) string {
			return "dynamic_resources: {lds_config: {}}\n" + s[:strings.Index(s, "  listeners:")] + s[strings.Index(s, "  clusters:"):]
		}, nil, "dynamic_resources", "control plane", "--part"},
		{"routes from a control plane", func(s string) string {
			at, end := strings.Index(s, "          route_config:"), strings.Index(s, "  clusters:\n")
			return s[:at] + "          rds: {route_config_name: x}\n" + s[end:]
		}, nil, "rds:", "(rds)", "--part routes"},
		{"scoped routes", func(s string) string {
			at, end := strings.Index(s, "          route_config:"), strings.Index(s, "  clusters:\n")
			return s[:at] + "          scopedRoutes: {name: x}\n" + s[end:]
		}, nil, "scopedRoutes", "(scoped_routes)", "--part routes"},
		{"two listeners that could be it", second("other", "8080"), nil, "- name: other", `"http" (line 7), "other" (line 41)`, "--listener"},
		{"a listener that is not there", nil, func(c *into.Config) { c.Listeners = []string{"public"} }, "", `no listener "public"`, `"http" (line 7)`},
		{"a virtual host that is not there", nil, func(c *into.Config) { c.VirtualHost = "any" }, "", `no virtual host "any"`, `"blog" (line 29), "main" (line 34)`},
		{"no virtual host for public_url", replace("domains: ['*']", "domains: [example.com]"), nil, "- name: blog", `no virtual host answers "localhost"`, `"blog" (line 29), "main" (line 34)`},
		{"a chain without the consent pages' name", replace("    - filters:", "    - filter_chain_match: {server_names: [localhost]}\n      filters:"), func(c *into.Config) {
			c.Parts.ConsentURL = "http://consent.localhost:8080"
		}, "- name: http", `for "consent.localhost"`, "server_names"},

		{"filters in brackets", func(s string) string {
			at, end := strings.Index(s, "          http_filters:"), strings.Index(s, "          route_config:")
			return s[:at] + "          http_filters: [{name: envoy.filters.http.router}]\n" + s[end:]
		}, nil, "http_filters: [", "http_filters is written in braces or brackets", "one element a line"},
		{"routes in brackets", replace("              routes:\n              - match: {prefix: /api/}\n                route: {cluster: shop}\n              - match: {prefix: /}\n                route: {cluster: website}\n  cl",
			"              routes: [{match: {prefix: /}, route: {cluster: website}}]\n  cl"), nil, "routes: [", "routes is written in", "one element a line"},
		{"an empty list of clusters", func(s string) string { return s[:strings.Index(s, "  clusters:")] + "  clusters: []\n" }, nil, "clusters: []", "clusters is written in", ""},
		{"clusters that are nothing", func(s string) string { return s[:strings.Index(s, "  clusters:")] + "  clusters:\n" }, nil, "clusters:", "clusters has no element", "remove the line"},
		{"filters that are shared", func(s string) string {
			s = replace("          http_filters:", "          http_filters: &all")(s)
			at, end := strings.Index(s, "          http_filters:"), strings.Index(s, "          route_config:")
			own := s[at:end]
			s = strings.Replace(second("other", "9090")(s), own, "          http_filters: *all\n", 2)
			return strings.Replace(s, "          http_filters: *all\n", own, 1)
		}, nil, "http_filters: &all", "http_filters is shared", "write it out"},
		{"no router at the end", replace("name: envoy.filters.http.router\n            typed_config:\n              '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", "name: x"), nil, "- name: x", "no router", ""},

		{"a cluster of athd's name", replace("  - name: website", "  - name: athd_authz"), nil, "- name: athd_authz", `a cluster "athd_authz"`, "pasted"},
		{"an ext_authz of their own", filter("authz", "ext_authz.v3.ExtAuthz"), nil, "- name: authz", "an ext_authz filter", "a listener of their own"},
		{"athd's ext_authz, pasted by hand", replace(router, router[:18]+"envoy.filters.http.ext_authz\n            typed_config:\n              '@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz\n              grpc_service: {envoy_grpc: {cluster_name: athd_authz}}\n"+router),
			nil, "- name: envoy.filters.http.ext_authz", "an ext_authz filter", "pasted"},
		{"a guard's name", filter("envoy.filters.http.rbac", "rbac.v3.RBAC"), nil, "- name: envoy.filters.http.rbac", `a filter "envoy.filters.http.rbac"`, "another name"},
		{"a buffer's name", filter("envoy.filters.http.buffer", "buffer.v3.Buffer"), nil, "- name: envoy.filters.http.buffer", `a filter "envoy.filters.http.buffer"`, "another name"},
		{"settings for a guard that is not there", replace("            name: local\n", "            name: local\n            typed_per_filter_config: {envoy.filters.http.rbac: {}}\n"), nil, "typed_per_filter_config", "settings for envoy.filters.http.rbac", "remove"},
		{"a way of its own to know clients", setting("          original_ip_detection_extensions: [{name: x}]\n"), nil, "original_ip", "original_ip_detection_extensions", "trusted_hops"},
		{"other trusted hops", setting("          xff_num_trusted_hops: 1\n"), nil, "xff_num", "xff_num_trusted_hops is 1, and envoy.trusted_hops of athd.yaml 0", "in both"},
		{"a setting without a value", setting("          http2_protocol_options:\n"), nil, "http2_protocol_options:", "has no value", "remove the line"},
		{"a domain with a port", replace("'blog.localhost', ", ""), nil, "domains: ['blog.localhost:*']", `the domain "blog.localhost:*" has a port`, `write "blog.localhost" beside it`},
		{"the consent pages' host, taken", nil, func(c *into.Config) { c.Parts.ConsentURL = "http://blog.localhost:8080" }, "- name: blog", `"blog" has the domain "blog.localhost"`, "another consent_url"},
		{"the consent pages' virtual host's name, taken", replace("name: blog", "name: consent"), func(c *into.Config) { c.Parts.ConsentURL = "http://consent.localhost:8080" }, "- name: consent", `a virtual host "consent"`, "rename"},
		{"an app that takes the website", nil, func(c *into.Config) {
			c.Parts.Providers = envoyconfig.Set(t, envoyconfig.AppProvider(t, "shop", "http://127.0.0.1:3000", ""))
		}, "- match: {prefix: /}", "would never be taken again", "path_prefix"},
		{"two apps in one virtual host", nil, func(c *into.Config) {
			c.Parts.Providers = envoyconfig.Set(t, envoyconfig.AppProvider(t, "a", "http://127.0.0.1:3000", "/api", "a.example"), envoyconfig.AppProvider(t, "b", "http://127.0.0.1:3000", "/api", "b.example"))
			c.VirtualHost = ""
		}, "- name: main", "lead to different apps", "of its own"},
		{"another way to the API", replace("route: {cluster: website}\n            - name: main", "route: {cluster: shop}\n            - name: main"), nil, "", "verify-envoy would find:\nlistener \"http\" / virtual host \"blog\"", "change what it names"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, config := before(t), into.Config{Parts: shop(t)}
			if c.do != nil {
				text = c.do(text)
			}
			if c.config != nil {
				c.config(&config)
			}
			r, err := into.Insert([]byte(text), config)
			var refusal *into.Refusal
			if !errors.As(err, &refusal) {
				if err == nil {
					t.Fatalf("it was done:\n%s", outline(r.Text))
				}
				t.Fatal(err)
			}
			at := ""
			if refusal.Line > 0 {
				at = strings.TrimSpace(strings.Split(text, "\n")[refusal.Line-1])
			}
			if (at == "") != (c.at == "") || !strings.HasPrefix(at, c.at) || !strings.Contains(refusal.What, c.says) || !strings.Contains(refusal.Next, c.next) || refusal.Next == "" {
				t.Errorf("want a line %q, got %v", c.at, err)
			}
		})
	}
}

// The line of a refusal is that of the file, with athd's parts in it.
func TestARefusalNamesTheLineOfTheFile(t *testing.T) {
	r := inserted(t, before(t), into.Config{Parts: shop(t)})
	text := strings.Replace(string(r.Text), "- name: website", "- name: athd_authz", 1)
	_, err := into.Insert([]byte(text), into.Config{Parts: shop(t)})
	var refusal *into.Refusal
	if !errors.As(err, &refusal) {
		t.Fatal(err)
	}
	if line := strings.Split(text, "\n")[refusal.Line-1]; line != "  - name: athd_authz" {
		t.Errorf("line %d is %q", refusal.Line, line)
	}
}

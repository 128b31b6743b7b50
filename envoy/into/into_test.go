package into_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/envoy/into"
	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/test/harness/envoyconfig"
	"github.com/athd/athd/test/harness/realenvoy"
)

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func before(t testing.TB) string { return read(t, "../../deploy/envoy/before.yaml") }

// shop is the configuration of docs/guides/your-envoy.md.
func shop(t testing.TB) bootstrap.Config {
	return bootstrap.Config{
		Listen: ":0", Authz: []string{"127.0.0.1:9001"}, Companion: []string{"127.0.0.1:9000"}, PublicURL: "http://localhost:8080",
		Providers: envoyconfig.Set(t, envoyconfig.AppProvider(t, "shop", "http://127.0.0.1:3000", "/api")),
	}
}

// api is one for team.yaml: native and gateway mode, consent pages apart,
// scripts of other origins.
func api(t testing.TB) bootstrap.Config {
	return bootstrap.Config{
		Listen: ":0", Authz: []string{"unix:/run/athd/authz.sock"}, Companion: []string{"unix:/run/athd/http.sock"},
		PublicURL: "https://api.example.com", ConsentURL: "https://consent.example.com", AllowedOrigins: []string{"https://app.example.com"},
		CAFile: "/etc/ssl/certs/ca-certificates.crt",
		Providers: envoyconfig.Set(t, envoyconfig.AppProvider(t, "api", "http://api.internal:8443", "/v1", "api.example.com"),
			envoyconfig.GatewayProvider(t, "github", "https://api.github.com")),
	}
}

// inserted is Insert of what must do, with all that always holds.
func inserted(t testing.TB, text string, c into.Config, warnings ...string) *into.Result {
	t.Helper()
	r, err := into.Insert([]byte(text), c)
	if err != nil {
		t.Fatal(err)
	}
	back, err := into.Remove(r.Text)
	if err != nil || string(back) != text {
		t.Errorf("removed, it is another text than it was: %v\n%s", err, back)
	}
	again, err := into.Insert(r.Text, c)
	if err != nil || !bytes.Equal(again.Text, r.Text) {
		t.Errorf("the second time changes it: %v", err)
	}
	for _, f := range r.Findings {
		if slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(f.What, w) }) && f.Severity == verify.Warning {
			continue
		}
		t.Errorf("%s: %s: %s", f.Severity, f.Where, f.What)
	}
	return r
}

func TestPartsGoIntoWhateverPeopleWrite(t *testing.T) {
	replace := func(pairs ...string) func(string) string { return strings.NewReplacer(pairs...).Replace }
	for _, c := range []struct {
		name string
		do   func(string) string
		c    func(into.Config) into.Config
	}{
		{"as it is", nil, nil},
		{"without its last line end", func(s string) string { return strings.TrimSuffix(s, "\n") }, nil},
		{"with blank lines and a comment behind it", func(s string) string { return s + "\n\n# the end" }, nil},
		{"with ends of lines of Windows", replace("\n", "\r\n"), nil},
		{"of which the last line changes", func(s string) string {
			listeners, clusters := strings.Index(s, "  listeners:\n"), strings.Index(s, "  clusters:\n")
			return s[:listeners] + s[clusters:] + s[listeners:clusters] + "            ignore_port_in_host_matching: false"
		}, nil},
		{"with comments in all places", func(s string) string {
			var b strings.Builder
			for line := range strings.Lines(s) {
				b.WriteString(line[:len(line)-len(strings.TrimLeft(line, " "))] + "# \"it's [\n\n" + line)
			}
			return b.String()
		}, nil},
		{"in camel case", replace("http_filters", "httpFilters", "route_config", "routeConfig", "virtual_hosts", "virtualHosts", "typed_config", "typedConfig",
			"static_resources", "staticResources", "filter_chains", "filterChains", "access_log:", "accessLog:"), nil},
		{"in document marks", func(s string) string { return "%YAML 1.1\n---\n" + s + "...\n" }, nil},
		{"with a mark of UTF-8", func(s string) string { return "\ufeff" + s }, nil},
		{"without clusters", func(s string) string {
			return strings.NewReplacer("{cluster: website}", "{cluster_header: x}", "{cluster: shop}", "{cluster_header: x}").Replace(s[:strings.Index(s, "  clusters:")])
		}, nil},
		{"with settings that athd needs", replace("stat_prefix: http\n", "stat_prefix: http\n          normalize_path: true\n          strip_trailing_host_dot: true\n          use_remote_address: true\n"), nil},
		{"with settings that athd needs otherwise", replace("stat_prefix: http\n", "stat_prefix: http\n          normalize_path: 'false'  # no\n          path_with_escaped_slashes_action: \"KEEP_UNCHANGED\"\n"), nil},
		{"with settings in braces", replace("stat_prefix: http\n", "stat_prefix: http\n          common_http_protocol_options: {}\n          http2_protocol_options: { max_concurrent_streams: 7 }\n"), nil},
		{"with settings in braces over several lines", replace("stat_prefix: http\n", "stat_prefix: http\n          common_http_protocol_options: {\n            # no\n            headers_with_underscores_action: ALLOW, # yes\n            idle_timeout: 5s }\n"), nil},
		{"with headers that are dropped", replace("stat_prefix: http\n", "stat_prefix: http\n          common_http_protocol_options:\n            headers_with_underscores_action: DROP_HEADER\n"), nil},
		{"with another early mutation", replace("stat_prefix: http\n", `stat_prefix: http
          early_header_mutation_extensions:
            - name: mine
              typed_config:
                '@type': type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
                mutations: [{remove: x-edge}]
`), nil},
		{"with lists deeper than their names", func(s string) string {
			at, end := strings.Index(s, "            - name: blog\n"), strings.Index(s, "  clusters:")
			hosts := strings.ReplaceAll("\n"+s[at:end], "\n", "\n        ")
			hosts = strings.Replace(hosts, "- name: main\n", "-\n                      name: main\n", 1)
			return s[:at] + hosts[1:len(hosts)-8] + s[end:]
		}, nil},
		{"with settings of its own for all routes", replace("name: local\n", "name: local\n            typed_per_filter_config:\n              # mine\n              envoy.filters.http.cors:\n                '@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy\n"), nil},
		{"with an anchor that is used elsewhere", replace("match: {prefix: /}\n                route: {cluster: website}\n            - name: main", "match: &all {prefix: /}\n                route: &website {cluster: website}\n            - name: main",
			"match: {prefix: /}\n                route: {cluster: website}\n  clusters", "match: *all\n                route: *website\n  clusters"), nil},
		{"with texts over several lines", replace("name: website\n    type: STATIC", "name: website\n    alt_stat_name: \"the\n      # website's\n      own\"\n    type: STATIC", "port_value: 3000}}}", "port_value: 3000}}}\n    alt_stat_name: >\n      the shop\n\n      # no comment"), nil},
		{"and consent pages apart", nil, func(c into.Config) into.Config {
			c.Parts.ConsentURL = "http://consent.localhost:8080"
			return c
		}},
		{"and scripts of other origins", nil, func(c into.Config) into.Config {
			c.Parts.AllowedOrigins = []string{"http://localhost:5173"}
			return c
		}},
		{"and trusted hops", replace("stat_prefix: http\n", "stat_prefix: http\n          xff_num_trusted_hops: 2\n"), func(c into.Config) into.Config {
			c.Parts.TrustedHops = 2
			return c
		}},
		{"with two listeners that agents reach", func(s string) string {
			at, end := strings.Index(s, "  - name: http\n"), strings.Index(s, "  clusters:\n")
			return s[:end] + strings.NewReplacer("name: http\n", "name: other\n", "8080", "8081").Replace(s[at:end]) + s[end:]
		}, func(c into.Config) into.Config {
			c.Listeners, c.Parts.ConsentURL = []string{"other", "http", "http"}, "http://consent.localhost:8080"
			return c
		}},
		{"and ext_proc judges", nil, func(c into.Config) into.Config {
			c.Parts.ByExtProc = true
			return c
		}},
		{"and streams are watched, and replies checked", nil, func(c into.Config) into.Config {
			c.Parts.WatchesStreams, c.Parts.ChecksReplies = true, true
			return c
		}},
		{"and names by hand", nil, func(c into.Config) into.Config {
			c.Listeners, c.VirtualHost = []string{"http"}, "main"
			return c
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, config := before(t), into.Config{Parts: shop(t)}
			if c.do != nil {
				text = c.do(text)
				if text == before(t) {
					t.Fatal("it is as it was")
				}
			}
			if c.c != nil {
				config = c.c(config)
			}
			r := inserted(t, text, config)
			if got, want := strings.Count(string(r.Text), "- name: envoy.filters.http.ext_authz")+strings.Count(string(r.Text), "- name: athd.judge"), max(1, len(slices.Compact(config.Listeners))); got != want {
				t.Errorf("athd is asked in %d places, want %d", got, want)
			}
			envoyconfig.Parse(t, []byte(strings.TrimPrefix(string(r.Text), "\ufeff")))
			realenvoy.Validate(t, r.Text)
		})
	}
}

// outline is a text with the names of what is between marks in place of it.
func outline(text []byte) string {
	var b strings.Builder
	depth := -1
	for line := range strings.Lines(string(text)) {
		trimmed := strings.TrimLeft(line, " ")
		in := len(line) - len(trimmed)
		switch key, _, _ := strings.Cut(strings.TrimSpace(trimmed), ":"); {
		case strings.HasPrefix(trimmed, "# athd:begin"):
			b.WriteString(line[:in] + "# athd:")
			depth = in
		case strings.HasPrefix(trimmed, "# athd:end"):
			b.WriteString("\n")
			depth = -1
		case depth < 0:
			b.WriteString(line)
		case strings.HasPrefix(trimmed, "# athd:was"):
			b.WriteString(" changed, ")
		case strings.HasPrefix(trimmed, "#") || in != depth:
		case strings.HasPrefix(trimmed, "- name: "):
			b.WriteString(" " + strings.TrimSpace(trimmed[8:]))
		case strings.HasPrefix(trimmed, "-"):
			b.WriteString(" " + strings.TrimSpace(trimmed))
		default:
			b.WriteString(" " + key)
		}
	}
	return b.String()
}

// A file with much in it: two filter chains by SNI, a listener that redirects,
// filters of the team's own, shared parts, comments in all places.
func TestPartsGoIntoATeamsEdge(t *testing.T) {
	authority := realenvoy.NewAuthority(t)
	cert, key := authority.Issue("api.example.com")
	parts := api(t)
	parts.CAFile = authority.CAFile
	text := read(t, "testdata/team.yaml")
	r := inserted(t, text, into.Config{Parts: parts}, "it runs code that could write the dynamic metadata")
	if got, want := outline(r.Text), read(t, "testdata/team.outline"); got != want {
		t.Errorf("want testdata/team.outline, got\n%s", got)
	}
	var notes []string
	lines := strings.Split(string(r.Text), "\n")
	for _, n := range r.Notes {
		notes = append(notes, n.Text+" | "+strings.TrimSpace(lines[n.Line-1]))
	}
	want := []string{
		"use_remote_address was false, for the whole listener | useRemoteAddress: true # we trust nobody",
		"normalize_path was false, for the whole listener | normalize_path: true",
		"idle_timeout stays 3600s; athd bootstrap says 60s | common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST, idle_timeout: 3600s}   # long polls",
		"max_concurrent_streams stays 250; athd bootstrap says 100 | max_concurrent_streams: 250",
		"for the whole listener: headers with underscores are refused, and so is %2F in paths; what clients say in X-Forwarded-For is dropped (behind a load balancer set envoy.trusted_hops in athd.yaml) | http_filters:",
		"this route is never taken any more: athd's app_api takes its requests. You may remove it | - match: {path_separated_prefix: /v1}",
	}
	if !slices.Equal(notes, want) {
		t.Errorf("notes:\n%s", strings.Join(notes, "\n"))
	}
	realenvoy.Validate(t, bytes.Replace(r.Text, []byte("common_tls_context: {}"),
		fmt.Appendf(nil, "common_tls_context: {tls_certificates: [{certificate_chain: {filename: %s}, private_key: {filename: %s}}]}", cert, key), 1))
}

// The configuration that Envoy's own image has, where many begin.
func TestPartsGoIntoTheConfigurationOfEnvoysImage(t *testing.T) {
	r := inserted(t, read(t, "testdata/image.yaml"), into.Config{Parts: shop(t)})
	realenvoy.Validate(t, r.Text)
	if !strings.Contains(string(r.Text), "          scheme_header_transformation:\n            scheme_to_overwrite: https\n          stat_prefix") {
		t.Errorf("their scheme is another one:\n%s", outline(r.Text))
	}
	if len(r.Notes) != 2 || !strings.HasPrefix(r.Notes[0].Text, "scheme_header_transformation stays") {
		t.Errorf("%+v", r.Notes)
	}
}

func TestPartsFollowAthdsConfiguration(t *testing.T) {
	first := inserted(t, before(t), into.Config{Parts: shop(t)})
	config := shop(t)
	config.Providers = envoyconfig.Set(t, append(config.Providers.All(), envoyconfig.GatewayProvider(t, "plain", "http://127.0.0.1:9999/"))...)
	config.ConsentURL = "http://consent.localhost:8080"
	fresh := inserted(t, before(t), into.Config{Parts: config})
	edited := bytes.Replace(first.Text, []byte("timeout: 1s"), []byte("timeout: 9s"), 1) // in athd's parts
	edited = bytes.Replace(edited, []byte("port_value: 8000"), []byte("port_value: 8001"), 1)
	again, err := into.Insert(edited, into.Config{Parts: config})
	if err != nil {
		t.Fatal(err)
	}
	if want := bytes.Replace(fresh.Text, []byte("port_value: 8000"), []byte("port_value: 8001"), 1); !bytes.Equal(again.Text, want) {
		t.Error("what was there before shows")
	}
	shown, err := into.Diff("envoy.yaml", edited, again.Text)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"-                timeout: 9s\n+                timeout: 1s\n", "+  - name: provider_plain\n", "+            - name: consent\n"} {
		if !strings.Contains(string(shown), want) {
			t.Errorf("the difference does not show %q:\n%s", want, shown)
		}
	}
	if strings.Contains(string(shown), "800") {
		t.Errorf("the difference shows what stays:\n%s", shown)
	}
}

// Filters and cluster of ext_proc come where athd.yaml says so, and go again.
func TestTheFilterThatJudgesIsReplaced(t *testing.T) {
	byAuthz, byProc := shop(t), shop(t)
	byProc.ByExtProc, byProc.WatchesStreams = true, true
	first := inserted(t, before(t), into.Config{Parts: byAuthz})
	second := inserted(t, before(t), into.Config{Parts: byProc})
	for _, way := range []struct {
		from, to *into.Result
		parts    bootstrap.Config
	}{{first, second, byProc}, {second, first, byAuthz}} {
		got, err := into.Insert(way.from.Text, into.Config{Parts: way.parts})
		if err != nil || !bytes.Equal(got.Text, way.to.Text) {
			t.Errorf("what was there before shows: %v", err)
		}
	}
	for _, of := range []string{"athd.judge", "athd.watch", "athd_streams", "ExtProcPerRoute"} {
		if bytes.Contains(first.Text, []byte(of)) || !bytes.Contains(second.Text, []byte(of)) {
			t.Errorf("%s is where it should not be, or the other way", of)
		}
	}
	if bytes.Contains(second.Text, []byte("ext_authz.v3")) {
		t.Error("ext_authz is left")
	}
}

package mesh

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/stage"
)

// at returns what stands below v by names and, in lists, indexes; nil where
// there is nothing.
func at(v any, place ...any) any {
	for _, step := range place {
		switch step := step.(type) {
		case string:
			o, _ := v.(object)
			v = o[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

// folder reads every document of a folder's YAML files.
func folder(t *testing.T, path string) []object {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(path, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %d files", path, err, len(files))
	}
	var all []object
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if head, _, _ := strings.Cut(string(text), "\napiVersion:"); !strings.HasPrefix(head, "#") || !strings.Contains(head, "Change: ") {
			t.Errorf("the head of %s does not say what to change", file)
		}
		all = append(all, documents(t, file)...)
	}
	return all
}

// Whatever else somebody edits in deploy/istio, these keep every request
// checked.
func TestIstioFilesCheckEverything(t *testing.T) {
	seen := map[string]int{}
	for _, d := range folder(t, "../../../deploy/istio") {
		kind, _ := d["kind"].(string)
		seen[kind]++
		switch kind {
		case "IstioOperator":
			provider := at(d, "spec", "meshConfig", "extensionProviders", 0)
			check := at(provider, "envoyExtAuthzGrpc")
			if at(provider, "name") != "athd" || at(check, "timeout") != "0.5s" || at(check, "statusOnError") != "503" || at(check, "failOpen") != false {
				t.Errorf("the provider: %v", provider)
			}
			if n := at(d, "spec", "meshConfig", "pathNormalization", "normalization"); n != "MERGE_SLASHES" {
				t.Errorf("paths are normalized by %v", n)
			}
		case "AuthorizationPolicy":
			if at(d, "spec", "action") != "CUSTOM" {
				continue
			}
			seen["CUSTOM"]++
			rules, _ := at(d, "spec", "rules").([]any)
			if rule, _ := at(rules, 0).(object); len(rules) != 1 || rule == nil || len(rule) > 0 {
				t.Errorf("%v does not check everything: %v", at(d, "metadata"), rules)
			}
			if at(d, "spec", "provider", "name") != "athd" {
				t.Errorf("%v asks %v", at(d, "metadata"), at(d, "spec", "provider"))
			}
		case "DestinationRule":
			tls := at(d, "spec", "trafficPolicy", "tls")
			if at(tls, "mode") == "ISTIO_MUTUAL" {
				continue
			}
			if host := at(d, "spec", "host"); at(tls, "mode") != "SIMPLE" || at(tls, "sni") != host || at(tls, "subjectAltNames", 0) != host || at(tls, "caCertificates") == nil {
				t.Errorf("%v is not verified: %v", host, tls)
			}
		case "VirtualService":
			for _, r := range at(d, "spec", "http").([]any) {
				prefix, _ := at(r, "match", 0, "uri", "prefix").(string)
				rewrite, _ := at(r, "rewrite", "uri").(string)
				if strings.HasSuffix(prefix, "/") != true && prefix != "" || rewrite != "" && !strings.HasSuffix(rewrite, "/") {
					t.Errorf("route %v: %q becomes %q, and one has no slash at its end", at(r, "name"), prefix, rewrite)
				}
				for _, name := range listOf(at(r, "headers", "request", "remove")) {
					if name == "authorization" {
						t.Errorf("route %v removes the user's token", at(r, "name"))
					}
				}
			}
		}
	}
	for kind, n := range map[string]int{"IstioOperator": 1, "CUSTOM": 3, "VirtualService": 2, "DestinationRule": 3, "ServiceEntry": 1, "EnvoyFilter": 2, "PeerAuthentication": 2} {
		if seen[kind] != n {
			t.Errorf("%d %s, want %d", seen[kind], kind, n)
		}
	}
}

func listOf(v any) []any {
	list, _ := v.([]any)
	return list
}

// The same for deploy/envoy-gateway.
func TestEnvoyGatewayFilesCheckEverything(t *testing.T) {
	policies, providers := 0, map[any]bool{}
	for _, d := range folder(t, "../../../deploy/envoy-gateway") {
		switch d["kind"] {
		case "SecurityPolicy":
			check := at(d, "spec", "extAuth")
			if at(check, "failOpen") != false || at(check, "timeout") != "500ms" || at(check, "statusOnError") != 503 ||
				at(check, "headersToExtAuth") != nil || at(check, "grpc", "backendRefs", 0, "name") != "athd-grpc" {
				t.Errorf("%v: %v", at(d, "metadata"), check)
			}
			if at(d, "spec", "targetRefs", 0, "kind") == "Gateway" {
				policies++
			}
			for _, e := range listOf(at(check, "contextExtensions")) {
				if at(e, "name") == "ath_provider" {
					providers[at(e, "value")] = true
				}
			}
		case "Backend":
			name, _ := at(d, "metadata", "name").(string)
			tls := at(d, "spec", "tls")
			if strings.HasPrefix(name, "athd-") && (at(tls, "clientCertificateRef") == nil || at(tls, "caCertificateRefs") == nil ||
				at(tls, "sni") != at(d, "spec", "endpoints", 0, "fqdn", "hostname")) {
				t.Errorf("%s has no mutual TLS: %v", name, tls)
			}
		case "BackendTLSPolicy":
			if at(d, "spec", "validation", "hostname") != "api.gallery.example" {
				t.Errorf("%v is not verified", at(d, "metadata"))
			}
		case "ClientTrafficPolicy":
			if at(d, "spec", "path", "escapedSlashesAction") != "KeepUnchanged" || at(d, "spec", "path", "disableMergeSlashes") != nil {
				t.Errorf("paths: %v", at(d, "spec", "path"))
			}
		}
	}
	if policies != 1 || !providers["gallery"] || !providers["shop"] {
		t.Errorf("%d policies for the whole Gateway, and routes name %v", policies, providers)
	}
	folder(t, "../../../deploy/envoy-gateway/streams") // its head
	judges := 0
	for _, d := range folder(t, "../../../deploy/envoy-gateway/ext-proc") {
		if d["kind"] != "EnvoyExtensionPolicy" {
			continue
		}
		judges++
		judge := at(d, "spec", "extProc", 0)
		if at(d, "spec", "targetRefs", 0, "kind") != "Gateway" || at(judge, "failOpen") != false || at(judge, "messageTimeout") != "1s" || at(judge, "statusOnError") != 503 ||
			at(judge, "processingMode", "request") == nil || at(judge, "processingMode", "request", "body") != nil || at(judge, "processingMode", "allowModeOverride") != nil ||
			at(judge, "shadowMode") != nil || at(judge, "backendRefs", 0, "name") != "athd-grpc" {
			t.Errorf("%v: %v", at(d, "metadata"), judge)
		}
	}
	if judges != 1 {
		t.Errorf("%d policies ask by ext_proc", judges)
	}
}

// athd takes the configuration of both overlays.
func TestKubernetesConfigurationIsValid(t *testing.T) {
	for _, overlay := range []string{"istio", "envoy-gateway"} {
		t.Run(overlay, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"config", "secrets", "tls"} {
				if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			write := func(name string, text []byte) {
				if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"athd.yaml", "providers.json"} {
				text, err := os.ReadFile(filepath.Join("../../../deploy/kubernetes/overlays", overlay, name))
				if err != nil {
					t.Fatal(err)
				}
				write(filepath.Join("config", name), text)
			}
			for _, name := range []string{"shop.secret", "gallery.secret", "admin.token"} {
				write(filepath.Join("secrets", name), []byte("q7Vw2mKx9TzR4cYbN6hJ1sLd8FgP3aEuXo5iCtZkWvQ"))
			}
			write("secrets/redis.url", []byte("rediss://athd:password@redis.redis.svc.cluster.local:6379"))
			authority := realenvoy.NewAuthority(t)
			certFile, keyFile := authority.Issue("athd.athd.svc.cluster.local")
			for name, from := range map[string]string{"tls.crt": certFile, "tls.key": keyFile, "ca.crt": authority.CAFile} {
				text, err := os.ReadFile(from)
				if err != nil {
					t.Fatal(err)
				}
				write(filepath.Join("tls", name), text)
			}
			stage.NewKeyset(t, filepath.Join(dir, "secrets/keyset.json"))
			stdout, stderr, err := stage.Run(t, dir, "validate", "--config", "config/athd.yaml")
			if err != nil {
				t.Errorf("%v\n%s%s", err, stdout, stderr)
			}
			if strings.Contains(stdout+stderr, "development.") {
				t.Errorf("a development option is on: %s%s", stdout, stderr)
			}
			if overlay == "envoy-gateway" {
				return // bootstrap would want the certificate of an Envoy of its own
			}
			// What athd's answers may change is written by hand in the meshes' files.
			printed, stderr, err := stage.Run(t, dir, "bootstrap", "--config", "config/athd.yaml")
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr)
			}
			text, err := os.ReadFile("../../../deploy/istio/filters.yaml")
			if err != nil {
				t.Fatal(err)
			}
			_, pattern, _ := strings.Cut(string(text), "regex: \"^(authorization|")
			pattern, _, _ = strings.Cut(pattern, "\"\n")
			if pattern == "" || !strings.Contains(printed, "^(authorization|"+pattern) {
				t.Errorf("filters.yaml lets athd's answers change other headers than athd bootstrap does: %s", pattern)
			}
			// And so is the watch.
			own, err := os.ReadFile(filepath.Join(dir, "config/athd.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			write("config/watched.yaml", []byte(strings.Replace(string(own), "\nenvoy:\n", "\nenvoy:\n  streams: watched\n", 1)))
			printed, stderr, err = stage.Run(t, dir, "bootstrap", "--config", "config/watched.yaml", "--part", "filters")
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr)
			}
			holdsTheWatch(t, "istio/streams.yaml", strings.ReplaceAll(printed, "athd_streams", "outbound|9001||athd-streams.athd.svc.cluster.local"))
			holdsTheWatch(t, "envoy-gateway/streams/watch.yaml", printed)
		})
	}
}

// holdsTheWatch: a file of deploy ends with the filter that athd bootstrap prints.
// ATHD_UPDATE_WATCH=1 writes it there again.
func holdsTheWatch(t *testing.T, file, printed string) {
	t.Helper()
	_, filter, _ := strings.Cut(printed, "\n- name: athd.watch\n")
	filter, _, _ = strings.Cut(filter, "\n- name: ")
	want := []string{strings.Repeat(" ", 10) + "name: athd.watch"}
	for line := range strings.SplitSeq(filter, "\n") {
		if strings.HasPrefix(line, "  ") { // what does not is about the next filter
			want = append(want, strings.Repeat(" ", 8)+line)
		}
	}
	path := filepath.Join("../../../deploy", file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, has, found := strings.Cut(string(text), want[0])
	if !found || len(want) < 50 {
		t.Fatalf("%s has no watch, or athd bootstrap prints none: %d lines", file, len(want))
	}
	tail := strings.Join(want, "\n") + "\n"
	if os.Getenv("ATHD_UPDATE_WATCH") == "1" {
		if err := os.WriteFile(path, []byte(head+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want[0]+has != tail {
		t.Errorf("deploy/%s has another watch than athd bootstrap prints: ATHD_UPDATE_WATCH=1 writes it again", file)
	}
}

// verify-envoy finds no fault in the meshes that deploy/ makes; what they
// cannot say are warnings.
func TestVerifyFindsNoFaultInMeshes(t *testing.T) {
	for _, m := range []mesh{
		istioWithoutFilters(), istioAsWeWant(),
		{name: "Envoy Gateway", away: http.StatusServiceUnavailable, config: gateway("", true, "")},
		{name: "Envoy Gateway by ext_proc", judges: true, away: http.StatusServiceUnavailable, config: judged},
	} {
		t.Run(m.name, m.hasNoFault)
	}
}

func (m mesh) hasNoFault(t *testing.T) {
	s := m.start(t)
	uncleared := 0
	for _, f := range m.verified(t, s).Findings {
		if f.Severity == verify.Fault {
			t.Errorf("%s: %s: %s", f.Where, f.What, f.Remedy)
		}
		if strings.Contains(f.What, "as if athd did") {
			uncleared++
		}
	}
	// Headers and trailers of two APIs.
	if want := map[bool]int{true: 0, false: 4}[m.clears]; uncleared != want {
		t.Errorf("P-9: %d findings say that an API may speak for athd, want %d", uncleared, want)
	}
}

// It finds where a path that athd lets pass leads to an API: operators' pages
// that were left out, and no 404 for the rest of /ath.
func TestVerifyFindsAthdsPathsAtAnAPI(t *testing.T) {
	without := func(prefixes ...string) mesh {
		return mesh{config: istio("0.5s", func(t *testing.T, manager, clusters object) {
			meshConfig(t, manager, clusters)
			host := at(manager, "route_config", "virtual_hosts", 0).(object)
			all := listOf(host["routes"])
			host["routes"] = slices.DeleteFunc(slices.Clone(all), func(r any) bool {
				prefix, _ := at(r, "match", "prefix").(string)
				return slices.Contains(prefixes, prefix)
			})
			if len(listOf(host["routes"])) != len(all)-len(prefixes) {
				t.Fatalf("the routes have changed: %v", all)
			}
		})}
	}
	t.Run("a 404 for the rest", without("/ath/admin/").hasNoFault)
	t.Run("none", func(t *testing.T) {
		var faults []string
		m := without("/ath/admin/", "/ath/")
		for _, f := range m.verified(t, m.start(t)).Findings {
			if f.Severity == verify.Fault {
				faults = append(faults, f.What)
			}
		}
		if len(faults) != 1 || faults[0] != `athd lets "/ath/admin/…" pass without a token, and this route leads it to a provider (shop)` {
			t.Errorf("found %q", faults)
		}
	})
}

func (m mesh) verified(t *testing.T, s *stage.Stage) verify.Verification {
	t.Helper()
	parse := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	set, err := provider.NewSet(
		&provider.Provider{ID: stage.Provider, APIBase: parse(s.Gallery.URL + "/v1")},
		&provider.Provider{ID: stage.App, APIBase: parse(s.App.URL), App: &provider.App{Upstream: parse(s.App.URL)}},
	)
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.Verify([]byte(s.Envoy.Admin("/config_dump")), verify.Expectation{
		Providers: set, ByHost: true, Authz: []string{"unix:" + s.Dir + "/authz.sock"}, ByExtProc: m.judges, WatchesStreams: m.streams,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

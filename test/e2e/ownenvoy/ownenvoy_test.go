// Package ownenvoy puts the parts that athd bootstrap prints into an Envoy
// configuration that was there before, as docs/guides/your-envoy.md tells, and
// takes an agent through it.
package ownenvoy

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/tree"
)

func TestMain(m *testing.M) { stage.Main(m) }

type object = tree.Object

// paste does by program what the guide tells people to do by hand, in its
// order.
func paste(t *testing.T, before object, bootstrap func(...string) []byte) {
	t.Helper()
	part := func(name string) []byte { return bootstrap("--part", name) }
	resources := tree.At(t, before, "static_resources").(object)
	resources["clusters"] = append(resources["clusters"].([]any), tree.Load(t, part("clusters"))["clusters"].([]any)...)

	manager := tree.At(t, resources, "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config").(object)
	own := manager["http_filters"].([]any)
	maps.Copy(manager, tree.Load(t, part("filters")))
	manager["http_filters"] = append(own[:len(own)-1:len(own)-1], manager["http_filters"].([]any)...) // theirs, less their router

	unchecked := object{
		"envoy.filters.http.ext_authz": object{
			"@type":    "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
			"disabled": true,
		},
		"envoy.filters.http.rbac": object{"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"},
	}
	routes := tree.At(t, tree.Load(t, part("routes")), "virtual_hosts", 0, "routes").([]any)
	for _, host := range tree.At(t, manager, "route_config", "virtual_hosts").([]any) {
		host := host.(object)
		host["typed_per_filter_config"] = unchecked
		if host["name"] == "main" {
			theirs := host["routes"].([]any)
			host["routes"] = append(routes, theirs[1:]...) // the shop is reached through athd's route now
		}
	}
}

// before is the Envoy that was there, on addresses of this test's.
func before(t *testing.T, listen string, website *stage.Upstream) string {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/envoy/before.yaml")
	if err != nil {
		t.Fatal(err)
	}
	realenvoy.Validate(t, text)
	out := string(text)
	for port, to := range map[string]string{"8080": listen, "9901": "127.0.0.1:0", "8000": strings.TrimPrefix(website.URL, "http://")} {
		out = at(t, out, port, to)
	}
	return out
}

// at gives the one socket address of a port another one.
func at(t *testing.T, text, port, hostPort string) string {
	t.Helper()
	host, to, _ := strings.Cut(hostPort, ":")
	was := regexp.MustCompile(`address: [0-9.]+, port_value: ` + port + `\b`)
	if n := len(was.FindAllString(text, -1)); n != 1 {
		t.Fatalf("%d addresses of port %s", n, port)
	}
	return was.ReplaceAllString(text, "address: "+host+", port_value: "+to)
}

// byHand pastes the parts.
func byHand(t *testing.T, website *stage.Upstream) func(string, func(...string) []byte) []byte {
	return func(listen string, bootstrap func(...string) []byte) []byte {
		config := tree.Load(t, []byte(before(t, listen, website)))
		paste(t, config, bootstrap)
		out, err := yaml.Dump(config)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// byInto lets athd bootstrap --into do it, and sees that it leaves alone what was
// there.
func byInto(t *testing.T, website *stage.Upstream) func(string, func(...string) []byte) []byte {
	return func(listen string, bootstrap func(...string) []byte) []byte {
		clusters := tree.At(t, tree.Load(t, bootstrap("--part", "clusters")), "clusters").([]any)
		text := before(t, listen, website)
		for _, c := range clusters {
			if tree.At(t, c, "name") == "provider_shop" { // where the team's own route to the shop leads
				to := tree.At(t, c, "load_assignment", "endpoints", 0, "lb_endpoints", 0, "endpoint", "address", "socket_address")
				text = at(t, text, "3000", fmt.Sprint(tree.At(t, to, "address"), ":", tree.At(t, to, "port_value")))
			}
		}
		file := filepath.Join(t.TempDir(), "envoy.yaml")
		if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		shown := string(bootstrap("--into", file, "--yes"))
		for line := range strings.Lines(shown) {
			if line[0] == '-' && !strings.HasPrefix(line, "--- ") {
				t.Errorf("the difference takes away %q", line)
			}
		}
		out, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if rest := withoutMarked(string(out)); rest != text {
			t.Errorf("what is not athd's is not what it was:\n%s", rest)
		}
		if again := bootstrap("--into", file, "--yes"); len(again) > 0 {
			t.Errorf("the second time changes it:\n%s", again)
		}
		return out
	}
}

// withoutMarked is a text without what stands between athd's marks.
func withoutMarked(text string) string {
	var out strings.Builder
	athds := false
	for line := range strings.Lines(text) {
		mark := strings.TrimSpace(line)
		if strings.HasPrefix(mark, "# athd:begin") {
			athds = true
		}
		if !athds {
			out.WriteString(line)
		}
		if strings.HasPrefix(mark, "# athd:end") {
			athds = false
		}
	}
	return out.String()
}

func ask(t *testing.T, s *stage.Stage, host, path, token, agentID string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.Public+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		req.Host = host
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("X-ATH-Agent-ID", agentID)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// proves: M-1, P-1, P-3, P-4, P-5
func TestPartsInAnEnvoyThatWasThere(t *testing.T) {
	athctl := buildAthctl(t)
	for _, c := range []struct {
		name string
		o    stage.Options
		by   func(*testing.T, *stage.Upstream) func(string, func(...string) []byte) []byte
	}{
		{"pasted by hand", stage.Options{}, byHand},
		{"by athd bootstrap --into", stage.Options{}, byInto},
		{"by athd bootstrap --into, consent pages apart", stage.Options{Host: "localhost", ConsentHost: "127.0.0.1"}, byInto},
		{"by athd bootstrap --into, the API's people let through", stage.Options{Unauthenticated: "passthrough"}, byInto},
	} {
		t.Run(c.name, func(t *testing.T) {
			website := stage.StartUpstream(t, nil)
			c.o.PathPrefix, c.o.Envoy = "/api", c.by(t, website)
			s := stage.Start(t, c.o)
			walk(t, s, website, c.o.Unauthenticated == "passthrough")
			for _, line := range s.Envoy.AccessLog() {
				if strings.Contains(line, "code=") || strings.Contains(line, "client_id=") {
					t.Errorf("an access log has what the handshake's paths carry: %s", line)
				}
			}
			t.Run("verify-envoy finds nothing", func(t *testing.T) { verified(t, athctl, s) })
		})
	}
}

// walk takes agents through everything, and people past it.
func walk(t *testing.T, s *stage.Stage, website *stage.Upstream, people bool) {
	withoutToken, api := 401, (*stage.Upstream)(nil)
	if people {
		withoutToken, api = 200, s.App
	}
	shop := s.Token(s.NewAgent("a"), stage.App, "products:read")
	gallery := s.Token(s.NewAgent("b"), stage.Provider, "pictures:read")

	for _, tt := range []struct {
		name, host, path string
		token            string
		agent            string
		status           int
		api              *stage.Upstream // that must see it; nil: none
	}{
		{"their website", "", "/", "", "", 200, website},
		{"their other host", "blog.localhost", "/ath/proxy/x", "", "", 200, website},
		{"the shop, with a token", "", "/api/products", shop.Access.Reveal(), shop.AgentID, 200, s.App},
		{"the shop, below /ath/proxy/", "", "/ath/proxy/shop/api/products", shop.Access.Reveal(), shop.AgentID, 200, s.App},
		{"the provider", "", "/ath/proxy/gallery/pictures/1", gallery.Access.Reveal(), gallery.AgentID, 200, s.Gallery},
		{"P-1: the shop, without a token", "", "/api/products", "", "", withoutToken, api},
		{"P-1: the shop, with another token", "", "/api/products", "ath_tk_made_up", shop.AgentID, 401, nil},
		{"P-3: the shop, with the provider's token", "", "/api/products", gallery.Access.Reveal(), gallery.AgentID, 403, nil},
		{"P-4: the shop, outside the scopes", "", "/api/orders", shop.Access.Reveal(), shop.AgentID, 403, nil},
		{"an unknown provider", "", "/ath/proxy/nobody/x", shop.Access.Reveal(), shop.AgentID, 403, nil},
		{"the handshake", "", "/.well-known/ath-app.json", "", "", 200, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			apis := []*stage.Upstream{website, s.App, s.Gallery}
			for _, api := range apis {
				api.Forget()
			}
			if status := ask(t, s, tt.host, tt.path, tt.token, tt.agent); status != tt.status {
				t.Errorf("answered with %d, want %d", status, tt.status)
			}
			for _, api := range apis {
				if want := api == tt.api; (api.Hits() > 0) != want {
					t.Errorf("%s saw %d requests: %s", api.URL, api.Hits(), api.Bytes())
				}
				if saw := api.Bytes(); tt.token != "" && (strings.Contains(saw, tt.token) || strings.Contains(strings.ToLower(saw), "x-ath-")) {
					t.Errorf("P-5: an API saw what is ours: %s", saw)
				}
			}
		})
	}
}

func buildAthctl(t *testing.T) string {
	t.Helper()
	athctl := filepath.Join(t.TempDir(), "athctl")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", athctl, "github.com/athd/athd/cmd/athctl").CombinedOutput(); err != nil {
		t.Fatalf("building athctl: %v\n%s", err, out)
	}
	return athctl
}

func verified(t *testing.T, athctl string, s *stage.Stage) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), athctl, "verify-envoy", "--strict", "--server", s.Public, "--token-file", s.Dir+"/admin.token",
		"--envoy", s.Envoy.AdminURL(), "--authz", "unix:"+s.Dir+"/authz.sock")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "read; nothing differs.") {
		t.Errorf("%v\n%s", err, out)
	}
}

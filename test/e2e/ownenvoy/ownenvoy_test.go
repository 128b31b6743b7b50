// Package ownenvoy puts the parts that athd bootstrap prints into an Envoy
// configuration that was there before, as docs/guides/your-envoy.md tells, and
// takes an agent through it.
package ownenvoy

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/tree"
)

func TestMain(m *testing.M) { stage.Main(m) }

type object = tree.Object

// paste does by program what the guide tells people to do by hand, in its
// order.
func paste(t *testing.T, before object, part func(string) []byte) {
	t.Helper()
	resources := tree.At(t, before, "static_resources").(object)
	resources["clusters"] = append(resources["clusters"].([]any), tree.Load(t, part("clusters"))["clusters"].([]any)...)

	manager := tree.At(t, resources, "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config").(object)
	own := manager["http_filters"].([]any)
	for key, value := range tree.Load(t, part("filters")) {
		manager[key] = value
	}
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

func start(t *testing.T) (*stage.Stage, *stage.Upstream) {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/envoy/before.yaml")
	if err != nil {
		t.Fatal(err)
	}
	realenvoy.Validate(t, text)
	website := stage.StartUpstream(t, nil)
	return stage.Start(t, stage.Options{PathPrefix: "/api", Envoy: func(listen string, part func(string) []byte) []byte {
		before := tree.Load(t, text)
		paste(t, before, part)
		setAddress(t, tree.At(t, before, "static_resources", "listeners", 0, "address", "socket_address").(object), listen)
		setAddress(t, tree.At(t, before, "admin", "address", "socket_address").(object), "127.0.0.1:0")
		site, _ := url.Parse(website.URL)
		setAddress(t, tree.At(t, before, "static_resources", "clusters", 0, "load_assignment", "endpoints", 0,
			"lb_endpoints", 0, "endpoint", "address", "socket_address").(object), site.Host)
		out, err := yaml.Dump(before)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}}), website
}

func setAddress(t *testing.T, o object, hostPort string) {
	t.Helper()
	host, port, _ := strings.Cut(hostPort, ":")
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	o["address"], o["port_value"] = host, n
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
	s, website := start(t)
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
		{"P-1: the shop, without a token", "", "/api/products", "", "", 401, nil},
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

	t.Run("verify-envoy finds nothing", func(t *testing.T) {
		at := func(text string) *url.URL {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
		set, err := provider.NewSet(
			&provider.Provider{ID: stage.Provider, APIBase: at(s.Gallery.URL + "/v1")},
			&provider.Provider{ID: stage.App, APIBase: at(s.App.URL), App: &provider.App{Upstream: at(s.App.URL), PathPrefix: "/api"}},
		)
		if err != nil {
			t.Fatal(err)
		}
		v, err := verify.Verify([]byte(s.Envoy.Admin("/config_dump")), verify.Expectation{Providers: set, Authz: []string{"unix:" + s.Dir + "/authz.sock"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range v.Findings {
			t.Errorf("%s: %s: %s", f.Severity, f.Where, f.What)
		}
	})
}

package walk

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
)

// The tutorial's own example of an app id is com.acme.api: it loads, discovery
// has it byte for byte, and agents use it on every door.
// F-32
// proves: D-1, D-2, O-2, T-5
func TestReverseDomainAppID(t *testing.T) {
	for _, destination := range []string{"route", "host_and_path"} {
		t.Run(destination, func(t *testing.T) {
			s := stage.Start(t, stage.Options{Mode: "native", AppID: "com.acme.api", Embedded: true, Destination: destination})
			c := s.NewAgent("reverse")
			names(t, c, "com.acme.api", "com.acme.api")
			token := s.Token(c, "com.acme.api", "products:read")
			if token.Provider != "com.acme.api" {
				t.Errorf("T-5: %q", token.Provider)
			}
			passes(t, s, s.App, token.Access.Reveal(), token.AgentID, "/api/products", "GET /api/products HTTP/1.1\r\n")
			passes(t, s, s.App, token.Access.Reveal(), token.AgentID, "/ath/proxy/com.acme.api/api/products/7", "GET /api/products/7 HTTP/1.1\r\n")
			for _, path := range []string{"/ath/proxy/COM.ACME.API/api/products", "/ath/proxy/com.acme/api/products", "/ath/proxy/com/acme/api/api/products"} {
				s.App.Forget()
				if r := raw(t, s, request(s, "GET", path, token.Access.Reveal(), token.AgentID, "Connection: close")...); r.status < 400 || s.App.Hits() != 0 {
					t.Errorf("%s: answered with %d", path, r.status)
				}
			}
			_, metrics := s.Athd.Get("/metrics")
			if !strings.Contains(metrics, `athd_decisions_total{provider="com.acme.api",reason="allowed"}`) {
				t.Error("no metric has the app's id")
			}
		})
	}
}

// names wants the one provider and the app of discovery to have these names.
func names(t *testing.T, c *client.Client, provider, app string) {
	t.Helper()
	found, err := c.Discover(t.Context())
	if err != nil || found.Gateway == nil || found.App == nil {
		t.Fatalf("%+v %v", found, err)
	}
	if all := found.Gateway.Providers; len(all) != 1 || all[0].ID != provider {
		t.Errorf("D-1: %+v", all)
	}
	if found.App.ID != app {
		t.Errorf("D-2: %q", found.App.ID)
	}
}

// Agents register, authorize and call under any of an app's names, and replies
// use the one that the agent used.
// F-32
// proves: T-5
func TestNamesOfAnApp(t *testing.T) {
	s := stage.Start(t, stage.Options{Mode: "native", AppID: "com.acme.api", AppMore: "  provider_id: acme\n  aliases: [Shop, shop]\n", Embedded: true})
	anyone := s.NewAgent("anyone")
	names(t, anyone, "acme", "com.acme.api")
	for i, name := range []string{"com.acme.api", "acme", "Shop", "shop", "default"} {
		c := s.NewAgent(fmt.Sprint("names-", i))
		registered, err := s.Register(c, name, "products:read")
		if err != nil {
			t.Fatal(err)
		}
		if len(registered.Providers) != 1 || registered.Providers[0].ID != name || !slices.Equal(registered.Providers[0].Approved, []string{"products:read"}) {
			t.Fatalf("%s: %+v", name, registered.Providers)
		}
		token := s.Token(c, name, "products:read")
		if token.Provider != name {
			t.Errorf("T-5: the reply names %q, the agent said %q", token.Provider, name)
		}
		passes(t, s, s.App, token.Access.Reveal(), token.AgentID, "/api/products", "GET /api/products HTTP/1.1\r\n")
		for _, called := range []string{"com.acme.api", "acme", "Shop", "shop"} {
			passes(t, s, s.App, token.Access.Reveal(), token.AgentID, "/ath/proxy/"+called+"/api/products/7", "GET /api/products/7 HTTP/1.1\r\n")
		}
	}
}

// What was stored while the app had another id holds on when that id becomes
// one of its other names, whichever way round.
// F-32
func TestRecordsOfAFormerAppID(t *testing.T) {
	s := stage.Start(t, stage.Options{Mode: "native"})
	c := s.NewAgent("former")
	token := s.Token(c, "shop", "products:read")
	path := filepath.Join(s.Dir, "athd.yaml")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, now := range []string{"appId: com.acme.api\n  provider_id: shop\n", "appId: com.acme.api\n  aliases: [shop]\n", "appId: shop\n  provider_id: com.acme.api\n"} {
		if err := os.WriteFile(path, []byte(strings.Replace(string(before), "appId: shop\n", now, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		s.RestartAthd()
		// Envoy still tells the former id; athd knows it by name.
		r := raw(t, s, request(s, "GET", "/api/products", token.Access.Reveal(), token.AgentID, "Connection: close")...)
		if r.status != http.StatusOK {
			t.Fatalf("%q: the token of before was answered with %d: %s", now, r.status, r.body)
		}
		fresh := s.Token(c, "shop", "products:read")
		if r := raw(t, s, request(s, "GET", "/api/products", fresh.Access.Reveal(), fresh.AgentID, "Connection: close")...); r.status != http.StatusOK {
			t.Errorf("%q: a new token was answered with %d: %s", now, r.status, r.body)
		}
	}
}

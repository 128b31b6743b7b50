package authz

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

func hinting(t *testing.T, s Reader, list ...*provider.Provider) *Decider {
	t.Helper()
	set, err := provider.NewSet(append(providers(t).All(), list...)...)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{
		Store: s, Providers: provider.NewProviders(set), PublicURL: "https://gw.example", Audit: audit.New(audit.Config{Writer: io.Discard}),
		Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func appAt(id string, hosts ...string) *provider.Provider {
	at := &url.URL{Scheme: "https", Host: "up.example"}
	p := &provider.Provider{ID: id, DisplayName: id, TokenURL: at, AuthorizeURL: at, APIBase: at,
		App: &provider.App{Name: id, Upstream: at, Audience: "https://" + id + ".example"}}
	for _, h := range hosts {
		host, err := ath.ParseHost(h)
		if err != nil {
			panic(err)
		}
		p.App.Hosts = append(p.App.Hosts, host)
	}
	return p
}

// proves: P-1, E-3
func TestWhoHasNoGoodTokenIsToldWhereDiscoveryIs(t *testing.T) {
	for _, c := range refusals() {
		s, r := good()
		c.break_(s, &r)
		d := hinting(t, s).Decide(t.Context(), r)
		want := any("https://gw.example/.well-known/ath.json")
		if c.status != 401 {
			want = nil
		}
		if got := d.Refusal().Details["discovery"]; got != want {
			t.Errorf("%s: details.discovery is %v, want %v", c.name, got, want)
		}
	}
	one := []*provider.Provider{appAt("one", "one.example")}
	two := []*provider.Provider{appAt("one", "one.example"), appAt("two", "other.example"), appAt("deux", "deux.example:8443")}
	for _, c := range []struct {
		name, provider, mount string
		apps                  []*provider.Provider
		want                  string
	}{
		{"an app's own host", "one", "", two, "https://one.example/.well-known/ath-app.json"},
		{"its host with a port", "deux", "", two, "https://deux.example/.well-known/ath-app.json"},
		{"an app below /ath/proxy/", "one", "/ath/proxy/one/", two, "https://gw.example/.well-known/ath.json"},
		{"no such provider", "", "", two, "https://gw.example/.well-known/ath.json"},
		{"an app that nobody would find at its audience", "two", "", two, "https://gw.example/.well-known/ath.json"},
		{"the only app", "one", "", one, "https://one.example/.well-known/ath-app.json"},
		{"the only app, of any host", "any", "", []*provider.Provider{appAt("any")}, "https://any.example/.well-known/ath-app.json"},
	} {
		s, r := good()
		r.Provider, r.Mount, r.Path, r.Authorization = c.provider, c.mount, c.mount+"/x", nil
		if c.mount != "" {
			r.Path = c.mount + "x"
		}
		d := hinting(t, s, c.apps...).Decide(t.Context(), r)
		if got := d.Refusal().Details["discovery"]; d.Reason() != TokenMissing || got != c.want {
			t.Errorf("%s: %s, discovery %v, want %s", c.name, d.Reason(), got, c.want)
		}
	}
}

// proves: P-11
func TestWhoLacksAScopeIsToldWhichToAskFor(t *testing.T) {
	narrow := &tokenstore.Approval{Provider: "shop", Approved: ath.Scopes{"products:read"}}
	denied := &tokenstore.Approval{Provider: "shop", Approved: ath.Scopes{"products:read"}, Denied: ath.Scopes{"orders:write"}}
	barred := &tokenstore.Approval{Provider: "shop", Approved: ath.Scopes{"products:read"}, Denied: ath.Scopes{"orders:write"}, OperatorDenied: ath.Scopes{"orders:write"}}
	for _, c := range []struct {
		name, method, path string
		upgrade            []string
		approval           *tokenstore.Approval
		want, unapproved   string
	}{
		{"another scope", "POST", "orders", nil, nil, "[orders:write]", ""},
		{"another scope, which the agent did not ask to be approved", "POST", "orders", nil, narrow, "[orders:write]", "[orders:write]"},
		{"another scope, which a policy denied once", "POST", "orders", nil, denied, "[orders:write]", "[orders:write]"},
		{"another scope, which an operator denied", "POST", "orders", nil, barred, "", ""},
		{"a scope for a WebSocket", "GET", "products/other", []string{"websocket"}, nil, "[orders:write]", ""},
		{"a held scope, but no WebSocket", "GET", "products/7", []string{"websocket"}, nil, "", ""},
		{"what no scope covers", "DELETE", "orders", nil, nil, "", ""},
	} {
		s, r := good()
		r.Method, r.Path, r.Upgrade = c.method, r.Mount+c.path, c.upgrade
		if c.approval != nil {
			s.agents[agentID].Approvals = []tokenstore.Approval{*c.approval}
		}
		d := hinting(t, s).Decide(t.Context(), r)
		e := d.Refusal()
		if e.Code != ath.ScopeNotApproved || e.Details["discovery"] != nil {
			t.Errorf("%s: %v", c.name, e)
		}
		next, _ := e.Details["next"].(map[string]any)
		if c.want == "" {
			if next != nil || len(d.Missing()) > 0 {
				t.Errorf("%s: next is %v", c.name, next)
			}
			continue
		}
		if next["step"] != "authorize" || next["provider_id"] != "shop" || fmt.Sprint(next["scopes"]) != c.want || fmt.Sprint(d.Missing()) != c.want {
			t.Errorf("%s: next is %v, missing %v, want %s", c.name, next, d.Missing(), c.want)
		}
		if got, there := next["unapproved_scopes"]; there != (c.unapproved != "") || there && fmt.Sprint(got) != c.unapproved {
			t.Errorf("%s: of next are unapproved %v, want %q", c.name, got, c.unapproved)
		}
	}
	s, r := good()
	r.Method, r.Path = "POST", r.Mount+"orders"
	s.grant.ProviderAs = "default"
	d := hinting(t, s).Decide(t.Context(), r)
	if next, _ := d.Refusal().Details["next"].(map[string]any); next["provider_id"] != "default" {
		t.Errorf("T-5: the agent calls the provider default, next is %v", next)
	}
	s, r = good()
	if d := hinting(t, s).Decide(t.Context(), r); !d.Allowed() || d.Missing() != nil || d.hint != nil {
		t.Error("an allow has a hint")
	}
}

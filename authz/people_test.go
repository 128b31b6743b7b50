package authz

import (
	"encoding/base64"
	"io"
	"log/slog"
	"net/url"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
)

func app(id string, open bool, prefix string, hosts ...string) *provider.Provider {
	at := func(s string) *url.URL { return &url.URL{Scheme: "https", Host: s} }
	return &provider.Provider{
		ID: id, DisplayName: id, Scopes: ath.Scopes{"products:read"}, TokenURL: at("auth.example"), AuthorizeURL: at("auth.example"),
		APIBase: at("api.example"), App: &provider.App{Name: id, Passthrough: open, Hosts: ath.MustParseHosts(hosts...), PathPrefix: prefix},
	}
}

func newDeciderOf(t testing.TB, s Reader, byHost bool, all ...*provider.Provider) *Decider {
	t.Helper()
	set, err := provider.NewSet(append(providers(t).All(), all...)...)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{
		Store: s, Providers: provider.NewProviders(set), ByHost: byHost, Logger: slog.New(slog.DiscardHandler),
		Audit: audit.New(audit.Config{Writer: io.Discard}), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// proves: P-1, P-5
func TestPeoplePassWhereTheAppIsOpen(t *testing.T) {
	s, _ := good()
	token := s.token.Secret().Reveal()
	basicOf := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	cases := []struct {
		name   string
		r      Request
		reason Reason
	}{
		{"no credential", Request{Method: "GET", Path: "/"}, PassedThrough},
		{"a person's own OAuth token", Request{Method: "POST", Path: "/orders", Authorization: []string{"Bearer eyJ.e30.x"}}, PassedThrough},
		{"two Authorization headers of a person", Request{Method: "GET", Path: "/", Authorization: []string{"Basic eDp5", "Bearer x"}}, PassedThrough},
		{"HTTP Basic", Request{Method: "GET", Path: "/", Authorization: []string{basicOf("ann", "secret")}}, PassedThrough},
		{"a method that agents may not use", Request{Method: "PROPFIND", Path: "/"}, PassedThrough},
		{"a path as only this app writes it", Request{Method: "GET", Path: "/a;jsessionid=1/%2e%2f//b"}, PassedThrough},
		{"an agent that forgot its token", Request{Method: "GET", Path: "/products", AgentID: []string{agentID}}, PassedThrough},
		{"cookies", Request{Method: "GET", Path: "/", Cookies: []string{"session=1; theme=dark"}}, PassedThrough},

		{"a target of which Envoy may have replaced a byte", Request{Method: "GET", Path: "/a!?b=!", Blurred: true}, PassedThrough},

		{"an ATH token", Request{Method: "GET", Path: "/products", Authorization: []string{"Bearer " + token}}, AgentIDMissing},
		{"a malformed ATH token", Request{Method: "GET", Path: "/products", Authorization: []string{"Bearer ath_tk_x"}}, TokenMalformed},
		{"another scheme", Request{Method: "GET", Path: "/products", Authorization: []string{"ATH " + token}}, TokenMissing},
		{"in upper case", Request{Method: "GET", Path: "/products", Authorization: []string{"Bearer ATH_TK_x"}}, TokenMalformed},
		{"beside a person's", Request{Method: "GET", Path: "/products", Authorization: []string{"Bearer eyJ", "Bearer " + token}}, TokenMalformed},
		{"joined to a person's", Request{Method: "GET", Path: "/products", Authorization: []string{"Bearer eyJ,Bearer " + token}}, TokenMalformed},
		{"as a password of HTTP Basic", Request{Method: "GET", Path: "/products", Authorization: []string{basicOf("x", token)}}, TokenMissing},
		{"as a user of HTTP Basic", Request{Method: "GET", Path: "/products", Authorization: []string{basicOf(token, "")}}, TokenMissing},
		{"in the query", Request{Method: "GET", Path: "/products?access_token=" + token}, TokenInQuery},
		{"in another header", Request{Method: "GET", Path: "/products", StrayToken: true}, TokenInQuery},
		{"in the query, encoded", Request{Method: "GET", Path: "/products?access_token=%61th%5ftk%5fx"}, TokenInQuery},
		{"in the query of such a target", Request{Method: "GET", Path: "/?t=" + token + "&b=!", Blurred: true}, TargetNotCanonical},
		{"a request that contradicts itself", Request{Method: "GET", Path: ""}, TargetNotCanonical},
		{"as the method", Request{Method: "ath_tk_x", Path: "/products"}, MethodNotAllowed},
		{"as a name of the host", Request{Method: "GET", Path: "/products", Host: token + ".shop.example"}, TokenMissing},
		{"in the path", Request{Method: "GET", Path: "/products/" + token}, TokenInQuery},
		{"in a cookie", Request{Method: "GET", Path: "/products", Cookies: []string{"a=1; t=" + token}}, TokenMissing},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.Provider = "site"
			d := newDeciderOf(t, s, false, app("site", true, "")).Decide(t.Context(), tt.r)
			if d.Reason() != tt.reason {
				t.Fatalf("reason %s, want %s", d.Reason(), tt.reason)
			}
			if d.Allowed() != (tt.reason == PassedThrough) || d.PassesThrough() != d.Allowed() {
				t.Errorf("allowed %v, passes through %v", d.Allowed(), d.PassesThrough())
			}
			if !d.Authorization().IsZero() {
				t.Error("something of a grant would be added to a person's request")
			}
		})
	}
}

func TestPassthroughIsOnlyForOpenApps(t *testing.T) {
	s, _ := good()
	bare := Request{Method: "GET", Path: "/products", Provider: "site"}
	with := func(edit func(*Request)) Request { r := bare; edit(&r); return r }
	cases := []struct {
		name   string
		app    *provider.Provider
		r      Request
		reason Reason
	}{
		{"a closed app", app("site", false, ""), bare, TokenMissing},
		{"a provider of somebody else's", app("site", true, ""), with(func(r *Request) { r.Provider = "shop" }), TokenMissing},
		{"a route to nothing", app("site", true, ""), with(func(r *Request) { r.Provider = "" }), TokenMissing},
		{"gateway mode", app("site", true, ""), with(func(r *Request) { r.Path, r.Mount = "/ath/proxy/site/x", "/ath/proxy/site/" }), TokenMissing},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			if d := newDeciderOf(t, s, false, tt.app).Decide(t.Context(), tt.r); d.Allowed() || d.Reason() != tt.reason {
				t.Errorf("reason %s, want %s", d.Reason(), tt.reason)
			}
		})
	}
}

// A path that two servers read differently may be the neighbour's.
// proves: P-7
func TestPeopleWriteCanonicallyBesideAClosedApp(t *testing.T) {
	s, _ := good()
	for _, tt := range []struct {
		name, path string
		neighbour  *provider.Provider
		pass       bool
	}{
		{"canonical", "/people/a", app("closed", false, "/agents"), true},
		{"a parameter that may hide a prefix", "/agents;x/a", app("closed", false, "/agents"), false},
		{"two slashes", "//agents/a", app("closed", false, "/agents"), false},
		{"an open neighbour does not mind", "//agents/a", app("closed", true, "/agents"), true},
		{"a neighbour on another host does not mind", "//agents/a", app("closed", false, "/agents", "other.example"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			site := app("site", true, "", "site.example")
			if !tt.neighbour.App.Passthrough && len(tt.neighbour.App.Hosts) == 0 {
				site.App.Hosts = nil
			}
			d := newDeciderOf(t, s, false, site, tt.neighbour).Decide(t.Context(), Request{Method: "GET", Path: tt.path, Provider: "site"})
			if d.Allowed() != tt.pass {
				t.Errorf("reason %s, want pass: %v", d.Reason(), tt.pass)
			}
		})
	}
}

// proves: P-3
func TestHostAndPathNameTheProviderOnlyWhereToldTo(t *testing.T) {
	s, r := good()
	r.Provider, r.Mount = "", ""
	if d := newDeciderOf(t, s, false).Decide(t.Context(), r); d.Reason() != TargetNotCanonical && d.Reason() != ProviderUnknown {
		t.Errorf("P-3: a route that names no provider: %s", d.Reason())
	}
	if d := newDeciderOf(t, s, true).Decide(t.Context(), r); !d.Allowed() || d.Provider != "shop" {
		t.Errorf("by host and path: %s, %q", d.Reason(), d.Provider)
	}
	// What a route says is never overruled.
	r.Provider, r.Mount = "other", "/ath/proxy/shop/"
	if d := newDeciderOf(t, s, true).Decide(t.Context(), r); d.Reason() != ProviderMismatch {
		t.Errorf("P-3: a route to another provider: %s", d.Reason())
	}
}

func TestDestinationFollowsFromHostAndPath(t *testing.T) {
	set, err := provider.NewSet(append(providers(t).All(), app("any", false, ""), app("cart", false, "/cart"), app("deep", false, "/cart/deep"),
		app("blog", false, "", "blog.example:8443", "Blog.Example"), app("v6", false, "/x", "[2001:db8::1]"))...)
	if err != nil {
		t.Fatal(err)
	}
	p := newPlaces(set, ath.Host{})
	for _, tt := range []struct{ host, target, id, mount string }{
		{"h", "/ath/proxy/shop/products", "shop", "/ath/proxy/shop/"},
		{"blog.example", "/ath/proxy/any/x?y", "any", "/ath/proxy/any/"},
		{"h", "/ath/proxy/shop", "", ""},
		{"h", "/ath/proxy/shopping/x", "", ""},
		{"h", "/ath/proxy/", "", ""},
		{"h", "/ath/authorize", "", ""},
		{"h", "/ath", "", ""},
		{"h", "/athletes", "any", ""},
		{"h", "/", "any", ""},
		{"h", "/cart", "cart", ""},
		{"h", "/cart?x=/cart/deep", "cart", ""},
		{"h", "/cart/deep", "deep", ""},
		{"h", "/cart/deeper", "cart", ""},
		{"h", "/carts", "any", ""},
		{"BLOG.example:443", "/cart", "blog", ""},
		{"blog.example.", "/cart", "blog", ""},
		{"blog.example,h", "/", "any", ""},
		{"[2001:DB8::1]:80", "/x/y", "v6", ""},
		{"[2001:db8::1]", "/y", "", ""},
		{"", "/", "any", ""},
		// F-25: as Envoy with IgnorePortInHostMatching compares them.
		{"blog.example.:0443", "/cart", "blog", ""},
		{"blog.example:99999", "/cart", "blog", ""},
		{"blog.example:x", "/cart", "blog", ""},
		{"blog.example..", "/cart", "cart", ""},
		{"[2001:db8:0::1]", "/x/y", "any", ""},
		{"[2001:db8::1]:x", "/x/y", "v6", ""},
		{"[", "/", "any", ""}, {":", "/", "any", ""}, {"]:", "/", "any", ""},
	} {
		if id, mount := p.find(tt.host, tt.target); id != tt.id || mount != tt.mount {
			t.Errorf("%s %s leads to %q at %q, want %q at %q", tt.host, tt.target, id, mount, tt.id, tt.mount)
		}
	}
}

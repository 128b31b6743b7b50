package provider_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// segments cuts a path as whoever asks Permits does.
func segments(path string) []string {
	if path == "/" {
		return nil
	}
	return strings.Split(strings.TrimPrefix(path, "/"), "/")
}

// proves: P-4
func TestExplicitRules(t *testing.T) {
	p := parseOne(t, `"available_scopes": ["one", "deep", "wild", "root", "all", "head", "two"], "scope_rules": [
		{"scope": "one", "methods": ["GET"], "paths": ["/user", "/user/emails"]},
		{"scope": "deep", "methods": ["GET", "POST"], "paths": ["/repos/**"]},
		{"scope": "wild", "methods": ["PUT"], "paths": ["/calendars/*/events/**", "/a%20b/*"]},
		{"scope": "root", "methods": ["GET"], "paths": ["/"]},
		{"scope": "all", "methods": ["DELETE"], "paths": ["/**"]},
		{"scope": "head", "methods": ["HEAD"], "paths": ["/x"]},
		{"scope": "two", "methods": ["GET"], "paths": ["/x"]},
		{"scope": "two", "methods": ["OPTIONS"], "paths": ["/y"]}]`)
	if p.Derived {
		t.Error("explicit rules are said to be derived")
	}
	tests := []struct {
		method, path, scopes string
		want                 string // the scope that permits; "": none
	}{
		{"GET", "/user", "one", "one"},
		{"HEAD", "/user", "one", "one"},
		{"OPTIONS", "/user", "one", ""},
		{"POST", "/user", "one", ""},
		{"get", "/user", "one", ""},
		{"GET", "/user/", "one", ""},
		{"GET", "/users", "one", ""},
		{"GET", "/User", "one", ""},
		{"GET", "/user/emails", "one", "one"},
		{"GET", "/user/emails/x", "one", ""},
		{"GET", "/user", "", ""},
		{"GET", "/user", "deep wild root all", ""},
		{"GET", "/user", "unknown", ""},
		{"GET", "/repos", "deep", "deep"},
		{"GET", "/repos/", "deep", "deep"},
		{"POST", "/repos/a/b/c", "deep", "deep"},
		{"GET", "/repository", "deep", ""},
		{"GET", "/x/repos/a", "deep", ""},
		{"PUT", "/calendars/7/events", "wild", "wild"},
		{"PUT", "/calendars/7/events/8/x", "wild", "wild"},
		{"PUT", "/calendars/7/8/events", "wild", ""},
		{"PUT", "/calendars//events", "wild", ""},
		{"PUT", "/calendars/7", "wild", ""},
		{"PUT", "/a%20b/c", "wild", "wild"},
		{"PUT", "/a b/c", "wild", ""},
		{"PUT", "/a%20b/", "wild", ""},
		{"GET", "/", "root", "root"},
		{"GET", "/a", "root", ""},
		{"DELETE", "/", "all", "all"},
		{"DELETE", "/a/", "all", "all"},
		{"HEAD", "/x", "head", "head"},
		{"GET", "/x", "head", ""},
		{"OPTIONS", "/y", "two", "two"},
		{"GET", "/user", "deep one two", "one"},
		{"GET", "/x", "head two one", "two"},
	}
	for _, tt := range tests {
		scope, ok := p.Permits(tt.method, segments(tt.path), strings.Fields(tt.scopes))
		if scope != tt.want || ok != (tt.want != "") {
			t.Errorf("P-4: %s %s with %q: got %q %v, want %q", tt.method, tt.path, tt.scopes, scope, ok, tt.want)
		}
	}
}

// proves: P-4
func TestNothingPermitsByAccident(t *testing.T) {
	p := parseOne(t, `"scope_rules": []`)
	if p.Derived || len(p.Rules) != 0 {
		t.Error("an empty scope_rules says that nothing is permitted, but rules were derived")
	}
	literal := &provider.Provider{Rules: []provider.Rule{{Scope: "a", Methods: []string{"GET"}, Paths: []string{"/**"}}, {}}}
	for name, p := range map[string]*provider.Provider{"no rules": p, "nil": nil, "zero": {}, "rules that were not compiled": literal} {
		if scope, ok := p.Permits("GET", nil, ath.Scopes{"a", "a:read", ""}); ok {
			t.Errorf("P-4: %s: permitted by %q", name, scope)
		}
	}
}

func TestPathPatterns(t *testing.T) {
	for pattern, sound := range map[string]bool{
		"/": true, "/a": true, "/a/b": true, "/*": true, "/**": true, "/a/**": true, "/*/**": true, "/a%20b": true, "/a:b@c": true, "/~a.b": true, "/%C3%A9": true,
		"": false, "a": false, "//": false, "/a/": false, "/a//b": false, "/.": false, "/a/../b": false, "/...": false, "/**/a": false, "/a/**/": false,
		"/a*": false, "/***": false, "/a b": false, "/é": false, "/%41": false, "/%2F": false, "/%2f": false, "/%c3%a9": false, "/%25": false, "/%zz": false, "/%": false,
		"/%FF": false, "/a;b": false, "/a?b": false, "/a#b": false, "/a\\b": false, "/a%00": false, "/[a]": false, "**": false, "*": false, "/" + strings.Repeat("a", 2048): false,
	} {
		quoted, _ := json.Marshal(pattern)
		_, faults := provider.Parse("f", []byte(oneProvider(`"scope_rules": [{"scope": "b", "methods": ["GET"], "paths": [`+string(quoted)+`]}]`)), testOptions)
		if (len(faults) == 0) != sound {
			t.Errorf("%.40q: sound %v, faults %v", pattern, sound, faults)
		}
	}
}

// The shop of the tutorial.
// proves: P-4
func TestDerivedRules(t *testing.T) {
	p := parseOne(t, `"available_scopes": ["products:read", "cart:write", "orders:read", "orders:write", "openid", "offline_access",
		"https://api.shop.example/auth/carts.readonly", "https://api.shop.example/auth/carts", "a:b:read", "wishlist:like", "x/y:read", "*:read", "products.read"]`)
	if !p.Derived {
		t.Error("derived rules are not said to be")
	}
	tests := []struct{ method, path, scopes, want string }{
		{"GET", "/api/products", "products:read", "products:read"},
		{"HEAD", "/api/products", "products:read", "products:read"},
		{"GET", "/products", "products:read", "products:read"},
		{"GET", "/api/products/17/", "products:read", "products:read"},
		{"POST", "/api/products", "products:read", ""},
		{"OPTIONS", "/api/products", "products:read", ""},
		{"GET", "/api/orders", "products:read", ""},
		{"GET", "/api/products-old", "products:read", ""},
		{"GET", "/api/Products", "products:read", ""},
		{"GET", "/", "products:read", ""},
		{"POST", "/api/cart/add", "cart:write", "cart:write"},
		{"PUT", "/api/cart/add", "cart:write", "cart:write"},
		{"PATCH", "/api/cart/add", "cart:write", "cart:write"},
		{"DELETE", "/api/cart/add", "cart:write", "cart:write"},
		{"GET", "/api/cart/add", "cart:write", ""},
		{"HEAD", "/api/cart/add", "cart:write", ""},
		{"POST", "/api/orders", "orders:write", "orders:write"},
		{"GET", "/api/orders", "orders:read", "orders:read"},
		{"GET", "/api/orders", "orders:write", ""},
		{"GET", "/api/orders", "products:read orders:read", "orders:read"},
		{"GET", "/api/carts", "https://api.shop.example/auth/carts.readonly", "https://api.shop.example/auth/carts.readonly"},
		{"GET", "/api/carts", "https://api.shop.example/auth/carts", ""},
		{"GET", "/openid", "openid", ""},
		{"GET", "/a", "a:b:read", ""},
		{"GET", "/b", "a:b:read", ""},
		{"GET", "/wishlist", "wishlist:like", ""},
		{"POST", "/wishlist", "wishlist:like", ""},
		{"GET", "/x/y", "x/y:read", ""},
		{"GET", "/*", "*:read", ""},
		{"GET", "/products", "products.read", ""},
	}
	for _, tt := range tests {
		if scope, _ := p.Permits(tt.method, segments(tt.path), strings.Fields(tt.scopes)); scope != tt.want {
			t.Errorf("P-4: %s %s with %q: got %q, want %q", tt.method, tt.path, tt.scopes, scope, tt.want)
		}
	}
	t.Run("an action alone covers every path", func(t *testing.T) {
		p := parseOne(t, `"available_scopes": ["read", "manage"]`)
		for _, path := range []string{"/", "/a", "/a/b/"} {
			if scope, _ := p.Permits("GET", segments(path), ath.Scopes{"read", "manage"}); scope != "read" {
				t.Errorf("GET %s: got %q", path, scope)
			}
			if scope, _ := p.Permits("DELETE", segments(path), ath.Scopes{"read", "manage"}); scope != "manage" {
				t.Errorf("DELETE %s: got %q", path, scope)
			}
		}
	})
	t.Run("each action", func(t *testing.T) {
		for action, methods := range map[string]string{
			"read": "GET HEAD", "readonly": "GET HEAD", "list": "GET HEAD", "view": "GET HEAD", "get": "GET HEAD",
			"write": "POST PUT PATCH DELETE", "create": "POST PUT PATCH DELETE", "update": "POST PUT PATCH DELETE",
			"delete": "POST PUT PATCH DELETE", "manage": "POST PUT PATCH DELETE", "admin": "", "READ": "",
		} {
			p := parseOne(t, `"available_scopes": ["r:`+action+`"]`)
			for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
				if _, ok := p.Permits(m, []string{"r"}, p.Scopes); ok != strings.Contains(" "+methods+" ", " "+m+" ") {
					t.Errorf("r:%s %s: got %v", action, m, ok)
				}
			}
		}
	})
	t.Run("never on a known host", func(t *testing.T) {
		for _, member := range []string{
			`"api_base_url": "https://API.github.com."`, `"token_endpoint": "https://github.com/x"`, `"authorize_endpoint": "https://accounts.google.com/x"`,
			`"userinfo_endpoint": "https://openidconnect.googleapis.com/v1/userinfo"`, `"api_base_url": "https://slack.com/api"`,
		} {
			p := parseOne(t, member)
			if _, ok := p.Permits("GET", []string{"a"}, p.Scopes); ok || p.Derived {
				t.Errorf("%s: derived", member)
			}
		}
	})
}

// proves: T-5
func TestNewSetRefusesUnusableProviders(t *testing.T) {
	app := &provider.Provider{ID: "shop", App: &provider.App{}}
	app2 := &provider.Provider{ID: "blog", App: &provider.App{}}
	gh := &provider.Provider{ID: "github"}
	for name, all := range map[string][]*provider.Provider{
		"twice": {gh, app, {ID: "github", App: &provider.App{}}}, "O-2: default": {{ID: "default"}}, "nil": {nil},
		"empty": {{}}, "O-2: upper case": {{ID: "GitHub"}}, "O-2: too long": {{ID: strings.Repeat("a", 64)}},
	} {
		if s, err := provider.NewSet(all...); err == nil || s != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	s, err := provider.NewSet(app, gh)
	if err != nil {
		t.Fatal(err)
	}
	if s.Lookup("shop") != app || s.Lookup("github") != gh || s.Lookup("default") != app || s.Lookup("") != nil || s.Lookup("x") != nil {
		t.Error("T-5: Lookup")
	}
	if s.Get("default") != nil || s.Get("shop") != app {
		t.Error("Get")
	}
	if all := s.All(); len(all) != 2 || all[0] != gh || len(s.Apps()) != 1 {
		t.Error("All or Apps")
	}
	s.All()[0] = nil
	if s.All()[0] != gh {
		t.Error("the set can be changed from outside")
	}
	if two, _ := provider.NewSet(app, app2); two.Lookup("default") != nil {
		t.Error("T-5: default is one of two apps")
	}
	if none, _ := provider.NewSet(gh); none.Lookup("default") != nil {
		t.Error("T-5: default is a provider that is no app")
	}
	var zero *provider.Set
	if zero.Get("x") != nil || zero.Lookup("default") != nil || len(zero.All()) != 0 || len(zero.Apps()) != 0 {
		t.Error("the nil set holds something")
	}
}

package provider_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/athd/athd/provider"
	"github.com/athd/athd/strict"
)

func parseApps(t *testing.T, yaml string) ([]*provider.Provider, strict.Faults) {
	t.Helper()
	var config struct {
		Apps []provider.AppConfig `yaml:"apps"`
	}
	doc, faults := strict.YAML("athd.yaml", []byte(yaml), &config)
	var all []*provider.Provider
	for i, app := range config.Apps {
		p, more := app.Provider(doc, []any{"apps", i}, testOptions)
		all, faults = append(all, p), append(faults, more...)
		if (p == nil) != (len(more) > 0) {
			t.Error("an app with faults, or without either")
		}
	}
	return all, faults.Sort()
}

const tutorialApp = `
apps:
  - appId: shop
    name: The shop
    upstream: http://127.0.0.1:3000
    audience: http://localhost:8080
    callbackUrl: http://localhost:8080/ath/callback
    availableScopes: [products:read, cart:write]
    skipAttestationVerification: true
    oauth:
      authorize_endpoint: https://as.example/auth
      token_endpoint: https://as.example/token
      client_id: 123.456
      client_secret: ${SECRET}
`

func TestAppInTheTutorialsSpelling(t *testing.T) {
	all, faults := parseApps(t, tutorialApp)
	if faults != nil {
		t.Fatal(faults)
	}
	p := all[0]
	if p.ID != "shop" || p.DisplayName != "The shop" || p.APIBase.String() != "http://127.0.0.1:3000" || p.ClientID != "123.456" || !p.ClientSecret.Equal("from-env") {
		t.Errorf("got %+v", p)
	}
	a := p.App
	if a == nil || a.Audience != "http://localhost:8080" || a.CallbackURL != "http://localhost:8080/ath/callback" || a.APIBase != "http://localhost:8080" ||
		a.Name != "The shop" || a.Upstream.Host != "127.0.0.1:3000" || a.PathPrefix != "" || len(a.Hosts) != 0 {
		t.Errorf("got %+v", a)
	}
	if scope, ok := p.Permits("GET", []string{"api", "products"}, p.Scopes); !ok || scope != "products:read" {
		t.Error("no derived rules")
	}
}

// F-32, O-2
func TestAppIDIsATokenOrATutorialID(t *testing.T) {
	for id, want := range map[string]bool{
		"com.acme.api": true, "Com.Acme-API_2": true, "7": true, "a..b": true, "a.": true, strings.Repeat("x", 127): true,
		"": false, ".": false, "..": false, ".acme": false, "-a": false, "_a": false, "a/b": false, "a%2Fb": false, "a b": false, "ä": false,
		"a:b": false, "a?b": false, "a,b": false, strings.Repeat("x", 128): false,
	} {
		if got := provider.ValidAppID(id); got != want {
			t.Errorf("%q: got %v", id, got)
		}
	}
	all, faults := parseApps(t, strings.Replace(tutorialApp, "appId: shop", "appId: com.acme.api\n    providerId: acme\n    aliases: [Acme, shop]", 1))
	if faults != nil {
		t.Fatal(faults)
	}
	p := all[0]
	set, err := provider.NewSet(p)
	if err != nil || p.ID != "com.acme.api" || p.Listed() != "acme" {
		t.Fatalf("%v %+v", err, p)
	}
	for name, want := range map[string]bool{"com.acme.api": true, "acme": true, "Acme": true, "shop": true, "default": true, "COM.ACME.API": false, "com.acme": false, "": false} {
		if got := set.Lookup(name) == p; got != want || name != "default" && (set.Get(name) == p) != want || name != "default" && p.Goes(name) != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
	other := *p
	other.ID, other.ListedAs, other.Aliases = "other", "", []string{"acme"}
	if _, err := provider.NewSet(p, &other); err == nil || !strings.Contains(err.Error(), `"acme" is given twice`) {
		t.Errorf("two apps of one alias: %v", err)
	}
}

func TestSkipsAttestation(t *testing.T) {
	for yaml, want := range map[string]bool{
		"skip_attestation_verification: true": true, "skipAttestationVerification: true": true, "skipAttestationVerification: false": false, "name: x": false,
	} {
		var a provider.AppConfig
		if _, faults := strict.YAML("f", []byte(yaml), &a); faults != nil || a.SkipsAttestation() != want {
			t.Errorf("%s: got %v %v", yaml, a.SkipsAttestation(), faults)
		}
	}
}

func TestAppInOurSpelling(t *testing.T) {
	all, faults := parseApps(t, `
apps:
  - app_id: shop
    upstream: https://api.internal/base/
    hosts: [Shop.example, "shop.example:8443", "[::1]"]
    path_prefix: /api/
    audience: https://shop.example/
    api_base: https://shop.example/api
    available_scopes: [a]
    categories: [shopping]
    unauthenticated: deny
    scope_rules:
      - {scope: a, methods: [GET], paths: [/api/x]}
    oauth:
      authorizeEndpoint: https://as.example/auth
      tokenEndpoint: https://as.example/token
      clientId: id
      clientSecret: hunter2
      userinfo_endpoint: https://as.example/me
      issuer: https://as.example
  - app_id: tiny
    upstream: http://127.0.0.1:1
    path_prefix: /tiny
    available_scopes: [a]
    oauth: {authorize_endpoint: "https://as.example/auth", token_endpoint: "https://as.example/token", client_id: id, token_auth_method: none}
`)
	if faults != nil {
		t.Fatal(faults)
	}
	p, a := all[0], all[0].App
	if p.APIBase.String() != "https://api.internal/base" || fmt.Sprint(a.Hosts) != "[shop.example shop.example:8443 [::1]]" || a.PathPrefix != "/api" || a.Audience != "https://shop.example" ||
		a.CallbackURL != "https://shop.example/ath/callback" || a.APIBase != "https://shop.example/api" || p.Derived || p.UserinfoURL == nil ||
		p.Issuer != "https://as.example" || !p.ClientSecret.Equal("hunter2") || p.AuthorizeURL.Host != "as.example" || p.Categories[0] != "shopping" {
		t.Errorf("got %+v %+v", p, a)
	}
	if a := all[1].App; a.APIBase != "http://localhost:8080/tiny" || a.Audience != "http://localhost:8080" || a.Name != "tiny" {
		t.Errorf("defaults: got %+v", a)
	}
}

func TestAppFaults(t *testing.T) {
	// app builds an app; edits replace a line "old" by "new".
	app := func(edits ...string) string { return strings.NewReplacer(edits...).Replace(tutorialApp) }
	tests := []struct{ name, in, want string }{
		{"nothing", "apps:\n  - {}\n", `athd.yaml:2:5: app_id: is missing
athd.yaml:2:5: upstream: is missing
athd.yaml:2:5: oauth.authorize_endpoint: is missing
athd.yaml:2:5: oauth.token_endpoint: is missing
athd.yaml:2:5: oauth.client_id: is missing
athd.yaml:2:5: oauth.client_secret: is missing
athd.yaml:2:5: available_scopes: is missing`},
		{"both spellings", app("name: The shop", "app_id: shop"), "athd.yaml:3:5: app_id and appId are two names of one field: give one"},
		{"both spellings of a list", app("name: The shop", "available_scopes: [a]"), "athd.yaml:8:5: available_scopes and availableScopes are two names of one field: give one"},
		{"both spellings of the flag", app("name: The shop", "skip_attestation_verification: false"), "athd.yaml:9:5: skip_attestation_verification and skipAttestationVerification are two names of one field: give one"},
		{"both spellings within oauth", app("client_id: 123.456", "clientId: x\n      client_id: x"), "athd.yaml:13:7: client_id and clientId are two names of one field: give one"},
		{"faults name the spelling that was used", app("callbackUrl: http://localhost:8080/ath/callback", "callbackUrl: http://localhost:8080/callback"), "athd.yaml:7:5: callbackUrl: must be the audience followed by /ath/callback"},
		{"callback of another audience", app("audience: http://localhost:8080", "audience: https://shop.example"), "athd.yaml:7:5: callbackUrl: must be the audience followed by /ath/callback"},
		{"O-2: id", app("appId: shop", "appId: .shop"), "athd.yaml:3:5: appId: an app's id starts with a letter or a digit, followed by at most 126 letters, digits, '.', '_' and '-'"},
		{"O-2: provider_id", app("name: The shop", "provider_id: a/b"), "athd.yaml:4:5: provider_id: an app's id starts with a letter or a digit, followed by at most 126 letters, digits, '.', '_' and '-'"},
		{"O-2: empty provider_id", app("name: The shop", `provider_id: ""`), "athd.yaml:4:5: provider_id: an app's id starts with a letter or a digit, followed by at most 126 letters, digits, '.', '_' and '-'"},
		{"O-2: default as an alias", app("name: The shop", "aliases: [store, default]"), `athd.yaml:4:22: aliases[1]: the id "default" is reserved`},
		{"O-2: an alias twice", app("name: The shop", "aliases: [store, shop, store]"), "athd.yaml:4:22: aliases[1]: the app has this name already\nathd.yaml:4:28: aliases[2]: the app has this name already"},
		{"O-2: default", app("appId: shop", "appId: default"), `athd.yaml:3:5: appId: the id "default" is reserved`},
		{"unauthenticated", app("name: The shop", "unauthenticated: allow"), "athd.yaml:4:5: unauthenticated: want deny or passthrough"},
		{"upstream", app("upstream: http://127.0.0.1:3000", "upstream: 127.0.0.1:3000"), "athd.yaml:5:5: upstream: not an absolute URL"},
		{"host", app("name: The shop", "hosts: [ok.example, 'https://x', '*.x']"), "athd.yaml:4:25: hosts[1]: want a host, with or without a port: the port is not a number\nathd.yaml:4:38: hosts[2]: want a host, with or without a port: the host contains a character that is not allowed in a host"},
		{"prefix", app("name: The shop", "path_prefix: api"), "athd.yaml:4:5: path_prefix: want a path in canonical form that starts with /"},
		{"audience on http", app("audience: http://localhost:8080", "audience: http://shop.example", "    callbackUrl: http://localhost:8080/ath/callback\n", ""), "athd.yaml:6:5: audience: want an https URL"},
		{"audience with a path", app("audience: http://localhost:8080", "audience: https://shop.example/x", "    callbackUrl: http://localhost:8080/ath/callback\n", ""), "athd.yaml:6:5: audience: want a URL without a path"},
		{"api base", app("name: The shop", "apiBase: /api"), "athd.yaml:4:5: apiBase: not an absolute URL"},
		{"unset variable, told once", app("${SECRET}", "${NOBODY}"), "athd.yaml:14:22: environment variable NOBODY is not set"},
		{"http endpoint", app("https://as.example/token", "http://as.example/token"), "athd.yaml:12:7: oauth.token_endpoint: want an https URL"},
		{"unknown keys", app("name: The shop", "nam: x", "client_id:", "clientid: x\n      client_id:"), "athd.yaml:4:5: unknown key \"nam\", did you mean \"name\"?\nathd.yaml:13:7: unknown key \"clientid\", did you mean \"clientId\"?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, faults := parseApps(t, tt.in); faults.Error() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", faults, tt.want)
			}
		})
	}
}

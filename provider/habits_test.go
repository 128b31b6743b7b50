package provider_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/strict"
)

// tenant is an OAuth server of somebody's own with an API of somebody's own.
func tenant(more string) string {
	return `"authorize_endpoint": "https://shop.eu.auth0.com/authorize", "token_endpoint": "https://shop.eu.auth0.com/oauth/token",
		"api_base_url": "https://api.shop.example", "available_scopes": ["products:read"]` + more
}

// A file that loaded before there were presets of such servers asks users for
// nothing more, and its scopes mean what they meant, wherever its server is.
func TestServersOfOnesOwnGetNoPresetByTheirHost(t *testing.T) {
	for _, host := range []string{"shop.eu.auth0.com", "shop.okta.com", "x.clerk.accounts.dev", "login.microsoftonline.com", "login.example"} {
		var warnings []string
		opt := testOptions
		opt.Warn = func(f strict.Fault) { warnings = append(warnings, f.Error()) }
		text := oneProvider(strings.ReplaceAll(tenant(""), "shop.eu.auth0.com", host))
		all, faults := provider.Parse("f", []byte(text), opt)
		if faults != nil {
			t.Fatal(faults)
		}
		p := all[0]
		if known, ok := p.Unnamed(); ok != (host != "login.example") || ok && known.Name == "" {
			t.Errorf("%s: preset %s could be named", host, known.Name)
		}
		if _, ok := parseOne(t, strings.ReplaceAll(tenant(`, "preset": "none"`), "shop.eu.auth0.com", host)).Unnamed(); ok {
			t.Errorf("%s: none was named", host)
		}
		u := p.AuthCodeURL(provider.AuthRequest{State: ath.NewSecret("s"), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"products:read"}})
		if p.Preset != "" || len(p.ExtraScopes) > 0 || p.Refresh.SendScope || len(p.Refresh.Denied) > 0 || !p.Derived || len(p.Rules) != 1 || len(warnings) > 0 || !strings.Contains(u, "scope=products%3Aread&") {
			t.Errorf("%s: %+v, %q, %s", host, p, warnings, u)
		}
	}
}

// Who names a preset gets its habits; what the scopes open stays the
// configuration's to say, or is derived as without one.
func TestPresetsOfServersOfOnesOwn(t *testing.T) {
	const openid, both = "openid", "openid offline_access"
	for preset, want := range map[string]struct {
		extra, denied string
		scope         bool
		params        map[string]string
	}{
		"auth0":    {extra: both},
		"clerk":    {extra: both},
		"dex":      {extra: both, denied: "invalid_request"},
		"entra":    {extra: both, denied: "interaction_required", scope: true},
		"keycloak": {extra: openid},
		"oidc":     {extra: both, params: map[string]string{"prompt": "consent"}},
		"okta":     {extra: both},
	} {
		t.Run(preset, func(t *testing.T) {
			habits := func(more string) *provider.Provider {
				return parseOne(t, tenant(`, "preset": "`+preset+`"`+more))
			}
			p := habits("")
			if got := strings.Join(p.ExtraScopes, " "); got != want.extra || strings.Join(p.Refresh.Denied, " ") != want.denied || p.Refresh.SendScope != want.scope || !maps.Equal(p.ExtraAuthz, want.params) {
				t.Errorf("extra scopes %q, %+v, %v", got, p.Refresh, p.ExtraAuthz)
			}
			if p.Preset != preset || !p.Derived || len(p.Rules) != 1 || p.UserinfoURL != nil || p.Issuer != "" || p.TokenURL.Host != "shop.eu.auth0.com" {
				t.Errorf("%+v", p)
			}
			if p = habits(`, "extra_scopes": ["roles"]`); !slices.Equal(p.ExtraScopes, ath.Scopes{"roles"}) {
				t.Errorf("what is written does not win: %q", p.ExtraScopes)
			}
			if p = habits(`, "refresh": false`); p.ExtraScopes.Has("offline_access") || !p.ExtraScopes.Has("openid") {
				t.Errorf("nothing is refreshed, and %q is asked for", p.ExtraScopes)
			}
			if p = habits(`, "refresh": true`); strings.Join(p.ExtraScopes, " ") != want.extra {
				t.Errorf("%q", p.ExtraScopes)
			}
			// By the issuer alone, whose host may be one that the preset knows.
			text := strings.NewReplacer(`"authorize_endpoint": "https://as.example/auth",`, "", `"token_endpoint": "https://as.example/token",`, "").
				Replace(oneProvider(`"issuer": "https://shop.okta.com", "available_scopes": ["products:read"], "preset": "` + preset + `"`))
			if _, faults := provider.Parse("f", []byte(text), testOptions); len(faults) != 1 || !strings.HasSuffix(faults[0].Error(), "api_base_url: is missing") {
				t.Errorf("without a base: %v", faults)
			}
		})
	}
}

func TestAuth0WithoutAnAudienceIsAWarning(t *testing.T) {
	for more, want := range map[string]int{
		"": 1, `, "extra_authorize_params": {"audience": "https://api.shop.example"}`: 0, `, "resource": "https://api.shop.example"`: 0,
		`, "preset": "okta"`: 0,
	} {
		var warnings []string
		opt := testOptions
		opt.Warn = func(f strict.Fault) { warnings = append(warnings, f.Error()) }
		if !strings.Contains(more, "preset") {
			more += `, "preset": "auth0"`
		}
		if _, faults := provider.Parse("f", []byte(oneProvider(tenant(more))), opt); faults != nil || len(warnings) != want {
			t.Errorf("%s: %v, %q", more, faults, warnings)
		}
	}
}

// Entra returns the names of Microsoft Graph's scopes without the resource, and
// says so of no other API's.
// proves: C-4
func TestEntraReturnsShortNamesOfScopes(t *testing.T) {
	const mail, own = "https://graph.microsoft.com/Mail.Read", "api://shop/Products.Read"
	members := map[string]any{"preset": "entra", "available_scopes": []string{mail, own, "https://graph.microsoft.com/User.Read", "User.Read"}, "scope_rules": []any{}}
	text, _ := json.Marshal(members)
	more := ", " + strings.Trim(string(text), "{}")
	got, err := exchange(t, answer(200, "application/json", `{"access_token":"at","scope":"openid Mail.Read User.Read Products.Read"}`), more)
	if err != nil || !got.Scopes.Has(mail) || got.Scopes.Has(own) || got.Scopes.Has("https://graph.microsoft.com/User.Read") || !got.Scopes.Has("User.Read") {
		t.Errorf("got %q, %v", got.Scopes, err)
	}
	p := parseOne(t, more[2:])
	if !maps.Equal(p.ScopeAliases, map[string]string{mail: "Mail.Read"}) {
		t.Errorf("aliases %v", p.ScopeAliases)
	}
}

// An alias is of a name that the server returned, and not of another alias.
// proves: C-4
func TestAliasesAreNotChained(t *testing.T) {
	for _, told := range []string{"x", "a"} {
		got, err := exchange(t, answer(200, "application/json", `{"access_token":"at","scope":"`+told+`"}`), `, "scope_aliases": {"a": "x", "b": "a", "c": "b"}`)
		want := map[string]ath.Scopes{"x": {"x", "a"}, "a": {"a", "b"}}[told]
		if err != nil || !slices.Equal(got.Scopes, want) {
			t.Errorf("%s: got %q, %v", told, got.Scopes, err)
		}
	}
}

func TestAliasesThatAreProbablyNotMeant(t *testing.T) {
	for aliases, want := range map[string]string{
		`{"a": "x", "b": "y"}`:  "",
		`{"a": "x", "b": "x"}`:  `scope_aliases.b: the server returns this scope and "a" under one name, so that a user who allows one of them allows both`,
		`{"a": "x", "no": "y"}`: "scope_aliases.no: is of no scope in available_scopes",
		`{"extra": "y"}`:        "",
	} {
		var warnings []string
		opt := testOptions
		opt.Warn = func(f strict.Fault) { warnings = append(warnings, f.Error()) }
		members := `"available_scopes": ["a", "b"], "scope_rules": [{"scope": "a", "methods": ["GET"], "paths": ["/a"]}, {"scope": "b", "methods": ["GET"], "paths": ["/b"]}], "extra_scopes": ["extra"], "scope_aliases": ` + aliases
		if _, faults := provider.Parse("f", []byte(oneProvider(members)), opt); faults != nil {
			t.Fatal(faults)
		}
		if want == "" && len(warnings) > 0 || want != "" && (len(warnings) != 1 || !strings.HasSuffix(warnings[0], want)) {
			t.Errorf("%s: %q", aliases, warnings)
		}
	}
}

// A user's id is text or a whole number: 1e3 and 1000.0 are no other users than
// 1000, and nobody counts on it that a server always writes it one way.
// proves: T-7
func TestUserIDsOfTheTokenReply(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 90) + `"u"` + strings.Repeat(`}`, 90)
	for _, tt := range []struct{ field, member, want string }{
		{"authed_user.id", `"authed_user":{"id":"U1"}`, "U1"},
		{"data.viewer.id", `"data":{"viewer":{"id":17}}`, "17"},
		{"data.viewer.id", `"data.viewer.id":"flat"`, "flat"},
		{"data.viewer.id", `"data":{"viewer":{"id":-17}}`, "-17"},
		{"data.viewer.id", `"data":{"viewer":{"id":123456789012345678901234567890}}`, "123456789012345678901234567890"},
		{"data.viewer.id", `"data":{"viewer":{"id":1e3}}`, ""},
		{"data.viewer.id", `"data":{"viewer":{"id":1.5}}`, ""},
		{"data.viewer.id", `"data":{"viewer":{"id":true}}`, ""},
		{"data.viewer.id", `"data":{"viewer":{"id":["U"]}}`, ""},
		{"data.viewer.id", `"data":{"viewer":{"id":{"id":"U"}}}`, ""},
		{"data.viewer.id", `"data":{"viewer":{"id":null}}`, ""},
		{"data.viewer.id", `"data":{"viewer":[{"id":"U"}]}`, ""},
		{"data.viewer.id", `"data":"viewer"`, ""},
		{"data.viewer.id", `"data":{}`, ""},
		{strings.TrimSuffix(strings.Repeat("a.", 91), "."), `"a":` + deep, "u"}, // as deep as a field can be
	} {
		got, err := exchange(t, answer(200, "application/json", `{"access_token":"at",`+tt.member+`}`), `, "user_id_field": "`+tt.field+`"`)
		if tt.want == "" && err == nil || tt.want != "" && (err != nil || got.User != tt.want) {
			t.Errorf("%s of %s: %q, %v", tt.field, tt.member, got.User, err)
		}
	}
}

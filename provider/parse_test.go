package provider_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// The file that users bring; it must load as it is.
const threeProviders = `{
  "github": {
    "display_name": "GitHub",
    "available_scopes": ["read:user", "repo", "gist", "read:org"],
    "authorize_endpoint": "https://github.com/login/oauth/authorize",
    "token_endpoint": "https://github.com/login/oauth/access_token",
    "api_base_url": "https://api.github.com",
    "client_id": "Iv1.abc123",
    "client_secret": "secret_xyz"
  },
  "google-calendar": {
    "display_name": "Google Calendar",
    "available_scopes": ["https://www.googleapis.com/auth/calendar.readonly", "https://www.googleapis.com/auth/calendar.events"],
    "authorize_endpoint": "https://accounts.google.com/o/oauth2/v2/auth",
    "token_endpoint": "https://oauth2.googleapis.com/token",
    "api_base_url": "https://www.googleapis.com/calendar/v3",
    "client_id": "123456.apps.googleusercontent.com",
    "client_secret": "GOCSPX-secret"
  },
  "slack": {
    "display_name": "Slack",
    "available_scopes": ["channels:read", "chat:write", "users:read"],
    "authorize_endpoint": "https://slack.com/oauth/v2/authorize",
    "token_endpoint": "https://slack.com/api/oauth.v2.access",
    "api_base_url": "https://slack.com/api",
    "client_id": "123.456",
    "client_secret": "abc123"
  }
}
`

func TestThreeProvidersLoadUnchanged(t *testing.T) {
	all, faults := provider.Parse("providers.json", []byte(threeProviders), provider.Options{})
	if faults != nil {
		t.Fatal(faults)
	}
	wants := []struct{ id, name, base, clientID, secret, separator string }{
		{"github", "GitHub", "https://api.github.com", "Iv1.abc123", "secret_xyz", " "},
		{"google-calendar", "Google Calendar", "https://www.googleapis.com/calendar/v3", "123456.apps.googleusercontent.com", "GOCSPX-secret", " "},
		{"slack", "Slack", "https://slack.com/api", "123.456", "abc123", ","},
	}
	if len(all) != len(wants) {
		t.Fatalf("got %d providers", len(all))
	}
	for i, want := range wants {
		p := all[i]
		if p.ID != want.id || p.DisplayName != want.name || p.APIBase.String() != want.base || p.ClientID != want.clientID ||
			!p.ClientSecret.Equal(want.secret) || p.AuthMethod != provider.ClientSecretPost || p.Separator != want.separator || p.App != nil {
			t.Errorf("%s: got %+v", want.id, p)
		}
		if p.Derived || p.Preset != want.id || len(p.Rules) == 0 {
			t.Errorf("%s: derived %v, preset %q, %d rules", want.id, p.Derived, p.Preset, len(p.Rules))
		}
		if text := fmt.Sprintf("%v %+v %#v", *p, *p, *p); strings.Contains(text, want.secret) {
			t.Errorf("%s: prints its secret", want.id)
		}
	}
}

func TestAuthorizationURLs(t *testing.T) {
	all, _ := provider.Parse("providers.json", []byte(threeProviders), provider.Options{})
	set, err := provider.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	request := provider.AuthRequest{
		State: ath.NewSecret("st&te"), RedirectURI: "https://gw.example/ath/callback",
		// The pair of RFC 7636, appendix B.
		Verifier: ath.NewSecret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
	}
	common := "&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
	tests := []struct {
		id     string
		scopes ath.Scopes
		want   string
	}{
		{"github", ath.Scopes{"read:user", "repo"}, "https://github.com/login/oauth/authorize?client_id=Iv1.abc123" + common +
			"&redirect_uri=https%3A%2F%2Fgw.example%2Fath%2Fcallback&response_type=code&scope=read%3Auser+repo&state=st%26te"},
		{"google-calendar", ath.Scopes{"https://www.googleapis.com/auth/calendar.readonly"}, "https://accounts.google.com/o/oauth2/v2/auth?access_type=offline&client_id=123456.apps.googleusercontent.com" + common +
			"&prompt=consent&redirect_uri=https%3A%2F%2Fgw.example%2Fath%2Fcallback&response_type=code&scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcalendar.readonly&state=st%26te"},
		{"slack", ath.Scopes{"channels:read"}, "https://slack.com/oauth/v2/authorize?client_id=123.456" + common +
			"&redirect_uri=https%3A%2F%2Fgw.example%2Fath%2Fcallback&response_type=code&state=st%26te&user_scope=channels%3Aread"},
	}
	for _, tt := range tests {
		request.Scopes = tt.scopes
		if got := set.Get(tt.id).AuthCodeURL(request); got != tt.want {
			t.Errorf("Z-2: %s:\n got %s\nwant %s", tt.id, got, tt.want)
		}
	}
	t.Run("Z-2: separator, resource, extra parameters and the endpoint's own query", func(t *testing.T) {
		p := parseOne(t, `"authorize_endpoint": "https://as.example/auth?tenant=a%20b", "scope_separator": ",", "extra_authorize_params": {"audience": "https://api", "prompt": "consent"}`)
		r := request
		r.Scopes, r.Resource = ath.Scopes{"a", "b"}, "https://api.example/x"
		u, err := url.Parse(p.AuthCodeURL(r))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"tenant": "a b", "audience": "https://api", "prompt": "consent", "resource": "https://api.example/x", "scope": "a,b",
			"state": "st&te", "response_type": "code", "client_id": "id", "redirect_uri": r.RedirectURI,
			"code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256",
		}
		for name, value := range want {
			if got := u.Query()[name]; len(got) != 1 || got[0] != value {
				t.Errorf("%s: got %q, want %q", name, got, value)
			}
		}
		if len(u.Query()) != len(want) {
			t.Errorf("more than wanted: %v", u.Query())
		}
	})
}

// parseOne loads a provider "p" from the given members and defaults for the
// required ones that these lack.
func parseOne(t testing.TB, members string) *provider.Provider {
	t.Helper()
	all, faults := provider.Parse("f", []byte(oneProvider(members)), testOptions)
	if faults != nil {
		t.Fatalf("%v\n%s", faults, oneProvider(members))
	}
	return all[0]
}

func oneProvider(members string) string {
	for _, def := range []struct{ name, value string }{
		{"display_name", `"P"`}, {"available_scopes", `["a:read", "b"]`}, {"authorize_endpoint", `"https://as.example/auth"`},
		{"token_endpoint", `"https://as.example/token"`}, {"client_id", `"id"`}, {"client_secret", `"hunter2"`},
	} {
		if !strings.Contains(members, `"`+def.name+`"`) && !strings.Contains(members, "-"+def.name) {
			members = strings.TrimPrefix(members+",\n\""+def.name+"\": "+def.value, ",")
		}
	}
	// "-name" stands for a required member that is left out.
	for _, name := range []string{"display_name", "available_scopes", "authorize_endpoint", "token_endpoint", "client_id", "client_secret"} {
		members = strings.ReplaceAll(members, "-"+name, "")
	}
	return "{\"p\": {\n" + strings.TrimPrefix(strings.TrimSpace(members), ",") + "}}"
}

var testOptions = provider.Options{
	PublicURL: "http://localhost:8080",
	Env: func(name string) (string, bool) {
		v, ok := map[string]string{"SECRET": "from-env", "HOST": "env.example"}[name]
		return v, ok
	},
	ReadFile: func(name string) ([]byte, error) {
		switch name {
		case "good":
			return []byte("from-file\n"), nil
		case "empty":
			return []byte("\n"), nil
		}
		return nil, errors.New("no such file")
	},
}

func TestOptionalFields(t *testing.T) {
	p := parseOne(t, `"categories": ["shopping"], "issuer": "https://as.example", "userinfo_endpoint": "https://as.example/me", "user_id_field": "id",
		"token_auth_method": "client_secret_basic", "extra_token_params": {"audience": "x"}, "client_secret": "${SECRET}", "client_id": "a$${b}",
		"authorize_endpoint": "https://${HOST}/auth", "scope_separator": ","`)
	if p.Categories[0] != "shopping" || p.Issuer != "https://as.example" || p.UserinfoURL.Path != "/me" || p.UserIDField != "id" ||
		p.AuthMethod != provider.ClientSecretBasic || p.ExtraToken["audience"] != "x" || p.Separator != "," {
		t.Errorf("got %+v", p)
	}
	if !p.ClientSecret.Equal("from-env") || p.ClientID != "a${b}" || p.AuthorizeURL.Host != "env.example" {
		t.Errorf("environment: got %q %q", p.ClientID, p.AuthorizeURL)
	}
	if p.APIBase.String() != "https://env.example" {
		t.Errorf("without api_base_url the base is the authorize endpoint's origin, got %s", p.APIBase)
	}
	if p := parseOne(t, `"client_secret_file": "good" -client_secret`); !p.ClientSecret.Equal("from-file") {
		t.Error("client_secret_file was not read, or with its newline")
	}
	if p := parseOne(t, `"token_auth_method": "none" -client_secret`); p.AuthMethod != provider.NoClientAuth || !p.ClientSecret.IsZero() {
		t.Errorf("got %+v", p)
	}
	if p := parseOne(t, `"api_base_url": "https://api.example/a%20b/"`); p.APIBase.String() != "https://api.example/a%20b" {
		t.Errorf("got %s", p.APIBase)
	}
}

func TestParseFaults(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"every missing field is named", `{"p": {}, "q": null}`, `f:1:2: authorize_endpoint: is missing
f:1:2: available_scopes: is missing
f:1:2: client_id: is missing
f:1:2: client_secret: is missing
f:1:2: display_name: is missing
f:1:2: token_endpoint: is missing
f:1:11: authorize_endpoint: is missing
f:1:11: available_scopes: is missing
f:1:11: client_id: is missing
f:1:11: client_secret: is missing
f:1:11: display_name: is missing
f:1:11: token_endpoint: is missing`},
		{"features to come are unknown keys", oneProvider(`"later": "x"`), `f:2:1: unknown key "later"`},
		{"revocation", oneProvider(`"revocation": "always", "revocation_endpoint": "x"`), `f:2:1: revocation: want last, each or never
f:2:25: revocation_endpoint: not an absolute URL`},
		{"refresh_margin", oneProvider(`"refresh_margin": "x"`), "f:2:1: refresh_margin: want a time from 0s to 1h, as 30s or 2m"},
		{"refresh_margin, of no more than an hour", oneProvider(`"refresh_margin": "61m"`), "f:2:1: refresh_margin: want a time from 0s to 1h, as 30s or 2m"},
		{"refresh_idle", oneProvider(`"refresh_idle": "7"`), "f:2:1: refresh_idle: want never, or how long an unused refresh token lives at the server, as 7d or 12h, and no less than a second"},
		{"refresh_idle, said and empty", oneProvider(`"refresh_idle": ""`), "f:2:1: refresh_idle: want never, or how long an unused refresh token lives at the server, as 7d or 12h, and no less than a second"},
		{"refresh_idle, of no less than a second", oneProvider(`"refresh_idle": "10ms"`), "f:2:1: refresh_idle: want never, or how long an unused refresh token lives at the server, as 7d or 12h, and no less than a second"},
		{"refresh_margin, not negative", oneProvider(`"refresh_margin": "-1ns"`), "f:2:1: refresh_margin: want a time from 0s to 1h, as 30s or 2m"},
		{"refresh_token_auth_method", oneProvider(`"refresh_token_auth_method": "jwt"`), "f:2:1: refresh_token_auth_method: want client_secret_post, client_secret_basic or none"},
		{"refresh_denied_errors", oneProvider(`"refresh_denied_errors": ["invalid_request", "a b", "invalid_client"]`),
			`f:2:46: refresh_denied_errors[1]: want an error code: 1 to 64 letters, digits, '_', '.' and '-'
f:2:53: refresh_denied_errors[2]: this code is not about the user's grant`},
		{"O-2: bad id", strings.Replace(oneProvider(""), `"p"`, `"P x"`, 1), "f:1:2: an id starts with a-z or 0-9, followed by at most 62 of a-z, 0-9, _ and -"},
		{"O-2: default is reserved", strings.Replace(oneProvider(""), `"p"`, `"default"`, 1), `f:1:2: the id "default" is reserved`},
		{"http", oneProvider(`"token_endpoint": "http://as.example/token"`), "f:2:1: token_endpoint: want an https URL"},
		{"other scheme", oneProvider(`"api_base_url": "ftp://as.example"`), "f:2:1: api_base_url: want an https URL"},
		{"relative", oneProvider(`"token_endpoint": "/token"`), "f:2:1: token_endpoint: not an absolute URL"},
		{"no host", oneProvider(`"token_endpoint": "https:///token"`), "f:2:1: token_endpoint: not an absolute URL"},
		{"opaque", oneProvider(`"token_endpoint": "https:as.example"`), "f:2:1: token_endpoint: not an absolute URL"},
		{"user information", oneProvider(`"token_endpoint": "https://u:hunter2@as.example/"`), "f:2:1: token_endpoint: want a URL without user information"},
		{"fragment", oneProvider(`"authorize_endpoint": "https://as.example/#"`), "f:2:1: authorize_endpoint: want a URL without a fragment"},
		{"space", oneProvider(`"authorize_endpoint": "https://as.example/a b"`), "f:2:1: authorize_endpoint: not an absolute URL"},
		{"protocol's parameter in the endpoint's query", oneProvider(`"authorize_endpoint": "https://as.example/?state=x"`), "f:2:1: authorize_endpoint: the query contains a parameter of the protocol"},
		{"query in the base", oneProvider(`"api_base_url": "https://as.example/?x"`), "f:2:1: api_base_url: want a URL without a query"},
		{"dots in the base", oneProvider(`"api_base_url": "https://as.example/a/../b"`), "f:2:1: api_base_url: the path is not in canonical form"},
		{"no scopes", oneProvider(`"available_scopes": []`), "f:2:1: available_scopes: is empty"},
		{"bad scopes", oneProvider(`"available_scopes": ["ok", "a b", "", "c,d"]`), `f:2:28: available_scopes[1]: a scope is 1 to 256 visible ASCII characters other than comma, quote and backslash
f:2:35: available_scopes[2]: a scope is 1 to 256 visible ASCII characters other than comma, quote and backslash
f:2:39: available_scopes[3]: a scope is 1 to 256 visible ASCII characters other than comma, quote and backslash`},
		{"two secrets", oneProvider(`"client_secret_file": "good"`), "f:2:1: client_secret_file: client_secret and client_secret_file are both given"},
		{"no such secret file", oneProvider(`"client_secret_file": "bad" -client_secret`), "f:2:1: client_secret_file: cannot be read: no such file"},
		{"empty secret file", oneProvider(`"client_secret_file": "empty" -client_secret`), "f:2:1: client_secret_file: the file is empty"},
		{"secret that is not used", oneProvider(`"token_auth_method": "none"`), "f:2:1: token_auth_method: is none, but a client secret is given"},
		{"no secret", oneProvider(`"issuer": "https://as.example" -client_secret`), "f:1:2: client_secret: is missing"},
		{"empty secret", oneProvider(`"client_secret": ""`), "f:2:1: client_secret: is empty"},
		{"unknown auth method", oneProvider(`"token_auth_method": "private_key_jwt"`), "f:2:1: token_auth_method: want client_secret_post, client_secret_basic or none"},
		{"separator", oneProvider(`"scope_separator": ";"`), "f:2:1: scope_separator: want a space or a comma"},
		{"empty separator", oneProvider(`"scope_separator": ""`), "f:2:1: scope_separator: want a space or a comma"},
		{"reserved parameters", oneProvider(`"extra_authorize_params": {"state": "x"}, "extra_token_params": {"grant_type": "x"}`),
			"f:2:28: extra_authorize_params.state: the protocol's own parameters cannot be set\nf:2:66: extra_token_params.grant_type: the protocol's own parameters cannot be set"},
		{"unset variable, told once", oneProvider(`"client_secret": "${NOBODY}", "token_endpoint": "${NOBODY}"`),
			"f:2:18: environment variable NOBODY is not set\nf:2:49: environment variable NOBODY is not set"},
		{"wrong type, told once", oneProvider(`"client_id": 5, "available_scopes": "a"`), "f:2:14: want text, got a number\nf:2:37: want a list, got text"},
		{"rule for a scope that is not available", oneProvider(`"scope_rules": [{"scope": "c", "methods": ["GET"], "paths": ["/"]}]`), "f:2:18: scope_rules[0].scope: is not one of available_scopes"},
		{"empty rule", oneProvider(`"scope_rules": [{}]`), `f:2:17: scope_rules[0]: scope is missing
f:2:17: scope_rules[0]: methods are missing
f:2:17: scope_rules[0]: paths are missing`},
		{"methods", oneProvider(`"scope_rules": [{"scope": "b", "methods": ["get", "TRACE", "HEAD"], "paths": ["/"]}]`), `f:2:44: scope_rules[0].methods[0]: want GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS
f:2:51: scope_rules[0].methods[1]: want GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS`},
		{"not an object", `[]`, "f:1:1: want an object, got a list"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all, faults := provider.Parse("f", []byte(tt.in), testOptions)
			if all != nil {
				t.Error("a faulty file gave providers")
			}
			want := strings.Split(tt.want, "\n")
			got := strings.Split(faults.Error(), "\n")
			if len(got) != len(want) {
				t.Fatalf("got\n%s\nwant\n%s", faults, tt.want)
			}
			for _, line := range want {
				if !strings.Contains("\n"+faults.Error()+"\n", "\n"+line+"\n") {
					t.Errorf("got\n%s\nwithout\n%s", faults, line)
				}
			}
			if strings.Contains(faults.Error(), "hunter2") {
				t.Error("a fault shows a secret")
			}
		})
	}
	t.Run("http where development allows it", func(t *testing.T) {
		opt := testOptions
		opt.AllowHTTP = true
		if _, faults := provider.Parse("f", []byte(oneProvider(`"token_endpoint": "http://127.0.0.1:1/token"`)), opt); faults != nil {
			t.Error(faults)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(threeProviders))
	f.Add([]byte(oneProvider(`"scope_rules": [{"scope": "b", "methods": ["GET"], "paths": ["/a/*/**"]}]`)))
	f.Add([]byte(oneProvider(`"preset": "slack", "token_kind": "bot", "api_base_url": "https://slack.com/api/chat", "extra_authorize_params": {"user_scope": ""}`)))
	f.Add([]byte(`{"p": {"client_secret": "${SECRET}", "api_base_url": "https://x/%41"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, faults := provider.Parse("f", data, testOptions)
		if len(faults) > 0 && all != nil {
			t.Error("providers and faults")
		}
		if _, err := provider.NewSet(all...); err != nil {
			t.Errorf("what was parsed is no set: %v", err)
		}
		for _, p := range all {
			p.AuthCodeURL(provider.AuthRequest{})
			if _, ok := p.Permits("GET", []string{"a"}, nil); ok {
				t.Error("no scope permits something")
			}
			if p.TokenURL.Scheme != "https" || p.APIBase.Host == "" {
				t.Errorf("got %+v", p)
			}
		}
	})
}

package provider_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/strict"
)

// Large directories make large tokens: 200 ids of groups are 12 KB.
// F-9
func TestLargeTokens(t *testing.T) {
	large := strings.Repeat("a", 32<<10)
	got, err := exchange(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/me" {
			fmt.Fprintf(w, `{"sub":"alice","groups":[%s"x"]}`, strings.Repeat(`"0b1bd5ca-5b5d-4b5a-9f5a-0b1bd5ca5b5d",`, 2000))
			return
		}
		fmt.Fprintf(w, `{"access_token":"%s","refresh_token":"%s","id_token":"%s","scope":"a"}`, large, large, large)
	}, `, "userinfo_endpoint": "SERVER/me"`)
	if err != nil || got.Access.Reveal() != large || got.Refresh.Reveal() != large || got.User != "alice" {
		t.Errorf("%v, %d, %d", err, len(got.Access.Reveal()), len(got.Refresh.Reveal()))
	}
	for field, reply := range map[string]string{
		"access_token": `{"access_token":"` + large + `b"}`, "refresh_token": `{"access_token":"x","refresh_token":"` + large + `b"}`,
	} {
		_, err := exchange(t, answer(200, "application/json", reply), "")
		if err == nil || !strings.Contains(err.Error(), field+" is too long: 32769 bytes, and at most 32768") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// F-9, F-12
func TestIDTokenThatNobodyAskedFor(t *testing.T) {
	for _, c := range []struct {
		name   string
		scopes ath.Scopes
		nonce  string
		user   string
	}{
		{"asked for, with its nonce", ath.Scopes{"openid", "read"}, "ours", "subject-1"},
		{"asked for, and without a nonce", ath.Scopes{"openid", "read"}, "", ""},
		{"not asked for, and without a nonce", ath.Scopes{"read"}, "", "subject-1"},
		{"not asked for, and with a nonce of its own", ath.Scopes{"read"}, "somebody's", "subject-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOpenID(t)
			p := o.provider(t, "")
			o.claims = jwt.MapClaims{"iss": o.URL, "aud": "athd", "sub": "subject-1", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
				"groups": strings.Repeat("0b1bd5ca-5b5d-4b5a-9f5a-0b1bd5ca5b5d ", 500)} // 18 KB
			switch c.nonce {
			case "":
			case "ours":
				o.claims["nonce"] = nonceFor(t, p, verifier)
			default:
				o.claims["nonce"] = c.nonce
			}
			client := provider.NewClient(provider.ClientConfig{Now: func() time.Time { return now }, AllowHTTP: true})
			got, err := client.Exchange(t.Context(), p, provider.Redemption{Code: ath.NewSecret(code), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: c.scopes})
			if got.User != c.user || (err != nil) != (c.user == "") {
				t.Errorf("the user is %q, %v", got.User, err)
			}
		})
	}
}

// F-6
func TestAnotherIssuerIsNamed(t *testing.T) {
	o := newOpenID(t)
	p := o.provider(t, "")
	o.claims = jwt.MapClaims{"iss": o.URL + "/", "aud": "athd", "sub": "subject-1", "nonce": nonceFor(t, p, verifier), "exp": now.Add(time.Hour).Unix()}
	client := provider.NewClient(provider.ClientConfig{Now: func() time.Time { return now }, AllowHTTP: true})
	redeem := func(p *provider.Provider) *provider.ExchangeError {
		_, err := client.Exchange(t.Context(), p, provider.Redemption{Code: ath.NewSecret(code), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"openid"}})
		e, ok := errors.AsType[*provider.ExchangeError](err)
		if !ok {
			t.Fatalf("got %v", err)
		}
		return e
	}
	e := redeem(p)
	if want := fmt.Sprintf(`%q, and %q is configured: they differ by the slash at the end`, o.URL+"/", o.URL); !strings.Contains(e.Error(), want) || strings.Contains(e.Brief(), o.URL) {
		t.Errorf("an ID token of another issuer: %v, for the agent %q", e, e.Brief())
	}
	other := *p
	other.Issuer += "/" // its configuration says the name without
	if e := redeem(&other); !strings.Contains(e.Error(), "they differ by the slash at the end") {
		t.Errorf("a configuration of another issuer: %v", e)
	}
}

// F-10
func TestCompressedReplies(t *testing.T) {
	for _, c := range []struct{ encoding, says string }{{"gzip", ""}, {"x-gzip", ""}, {"br", `"br"`}, {"deflate", `"deflate"`}} {
		got, err := exchange(t, func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Values("Accept-Encoding"); !slices.Equal(got, []string{"identity"}) {
				t.Errorf("%s asked for %q", r.URL.Path, got)
			}
			body := map[string]string{"/token": `{"access_token":"at"}`, "/me": `{"sub":"alice"}`}[r.URL.Path]
			w.Header().Set("Content-Encoding", c.encoding)
			z := gzip.NewWriter(w)
			io.WriteString(z, body)
			z.Close()
		}, `, "userinfo_endpoint": "SERVER/me"`)
		if c.says == "" && (err != nil || !got.Access.Equal("at") || got.User != "alice") || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v %v", c.encoding, got, err)
		}
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	io.WriteString(z, `{"access_token":"at","x":"`+strings.Repeat("x", 30<<20)+`"}`)
	z.Close()
	_, err := exchange(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb.Bytes())
	}, "")
	if err == nil || !strings.Contains(err.Error(), "larger than 256 KiB") {
		t.Errorf("a bomb: %v", err)
	}
}

// F-13, F-14; proves: C-4
func TestHabitsThatFieldsSay(t *testing.T) {
	const email, told = "email", "https://www.googleapis.com/auth/userinfo.email"
	for _, c := range []struct {
		name, members, reply string
		scopes               ath.Scopes
		given                bool
		fails                string
	}{
		{"a type of its own", `, "token_types": ["BearerToken"]`, `{"access_token":"at","token_type":"BearerToken"}`, nil, false, ""},
		{"a type in other capitals", `, "token_types": ["BearerToken"]`, `{"access_token":"at","token_type":"bearertoken"}`, nil, false, ""},
		{"the standard's own beside it", `, "token_types": ["BearerToken"]`, `{"access_token":"at","token_type":"Bearer"}`, nil, false, ""},
		{"a type that nobody listed", `, "token_types": ["BearerToken"]`, `{"access_token":"at","token_type":"mac"}`, nil, false, "token_type is not bearer"},
		{"a scope under another name", `, "scope_aliases": {"email": "` + told + `"}`, `{"access_token":"at","scope":"` + told + `"}`, ath.Scopes{told, email}, true, ""},
		{"a scope under its own name", `, "scope_aliases": {"email": "` + told + `"}`, `{"access_token":"at","scope":"email"}`, ath.Scopes{email}, true, ""},
		{"a scope that was not granted", `, "scope_aliases": {"email": "` + told + `"}`, `{"access_token":"at","scope":"openid"}`, ath.Scopes{"openid"}, true, ""},
		{"no scopes at all", `, "empty_scope": "as_requested"`, `{"access_token":"at","scope":""}`, nil, false, ""},
		{"no scopes at all, and another word for it", `, "empty_scope": "nothing"`, `{"access_token":"at","scope":""}`, ath.Scopes{}, true, ""},
		{"scopes all the same", `, "empty_scope": "as_requested"`, `{"access_token":"at","scope":"a"}`, ath.Scopes{"a"}, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := exchange(t, answer(200, "application/json", c.reply), c.members)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || !slices.Equal(got.Scopes, c.scopes) || got.ScopesGiven != c.given {
				t.Errorf("got %q %v %v", got.Scopes, got.ScopesGiven, err)
			}
		})
	}
	google := parseOne(t, `"authorize_endpoint": "https://accounts.google.com/o/oauth2/v2/auth", "token_endpoint": "https://oauth2.googleapis.com/token", "preset": "gmail"`)
	if google.ScopeAliases[email] != told {
		t.Errorf("Google's own aliases: %v", google.ScopeAliases)
	}
}

// F-7
// proves: C-5
func TestErrorCodesThatMeanTheUserDeclined(t *testing.T) {
	p := parseOne(t, `"denied_errors": ["4711", "no-thanks"]`)
	for code, want := range map[string]bool{
		"access_denied": true, "ACCESS_DENIED": true, "access-denied": true, "user_cancelled_authorize": true, "user_cancelled_login": true,
		"user_denied": true, "user_canceled": true, "consent_denied": true, "4711": true, "no-thanks": true,
		"": false, "server_error": false, "invalid_scope": false, "consent_required": false, "login_required": false, "No-Thanks": false, "47": false,
	} {
		if got := p.Declined(code); got != want {
			t.Errorf("%q: got %v", code, got)
		}
	}
}

func TestWordsFaults(t *testing.T) {
	for members, want := range map[string]string{
		`"token_types": ["DPoP"]`:          "token_types[0]: a token of this type is no bearer token: athd cannot use it",
		`"token_types": [""]`:              "token_types[0]: want 1 to 64 bytes of printable ASCII",
		`"denied_errors": ["a b"]`:         "denied_errors[0]: want an error code: 1 to 64 letters, digits, '_', '.' and '-'",
		`"scope_aliases": {"email": ""}`:   "scope_aliases.email: want two scopes: the requested one, and the name that the server returns for it",
		`"empty_scope": "whatever"`:        "empty_scope: want nothing or as_requested",
		`"scope_aliases": {"email": "e2"}`: "",
	} {
		_, faults := provider.Parse("f", []byte(oneProvider(members)), testOptions)
		if want == "" && faults != nil || want != "" && (len(faults) != 1 || faults[0].Message != want) {
			t.Errorf("%s: got %v", members, faults)
		}
	}
}

// A GitHub App has permissions in place of scopes, and the same hosts as what
// GitHub calls an OAuth app.
// F-14
func TestGitHubApps(t *testing.T) {
	const hosts = `"authorize_endpoint": "https://github.com/login/oauth/authorize", "token_endpoint": "https://github.com/login/oauth/access_token", "available_scopes": ["repo", "issues:read"]`
	var warnings []string
	opt := testOptions
	opt.Warn = func(f strict.Fault) { warnings = append(warnings, f.Message) }
	parse := func(members string) *provider.Provider {
		t.Helper()
		warnings = nil
		all, faults := provider.Parse("f", []byte(oneProvider(hosts+members)), opt)
		if faults != nil {
			t.Fatal(faults)
		}
		return all[0]
	}
	app := parse(`, "client_id": "Iv23abc", "preset": "github-app"`)
	if app.Preset != "github-app" || app.EmptyScope != provider.EmptyAsRequested || app.APIBase.String() != "https://api.github.com" || app.UserinfoURL == nil || len(warnings) != 0 {
		t.Errorf("%+v %q", app, warnings)
	}
	for _, scope := range []string{"repo", "issues:read"} {
		if _, ok := app.Permits("GET", segments("/repos/o/r/issues"), ath.Scopes{scope}); !ok {
			t.Errorf("%s opens nothing", scope)
		}
	}
	classic := parse(`, "client_id": "Ov23abc"`)
	if classic.Preset != "github" || classic.EmptyScope != provider.EmptyAsNothing || len(warnings) != 0 {
		t.Errorf("%+v %q", classic, warnings)
	}
	if parse(`, "client_id": "Iv1.abc123"`); len(warnings) != 1 || !strings.Contains(warnings[0], "preset: github-app") {
		t.Errorf("a GitHub App's client id without the preset: %q", warnings)
	}
}

// What another party says is bounded before it goes anywhere.
// F-6
func TestProviderTextsAreMadeSafeToLog(t *testing.T) {
	for in, want := range map[string]string{
		"The user\r\nsaid\tno":            "The user  said no",
		"a\x00b\u202ec":                   "abc",
		"bad \xff bytes":                  "bad  bytes",
		"Grüße":                           "Grüße",
		"token ath_tk_abc":                "[withheld: it looks like a token]",
		"jwt eyJhbGciOi":                  "[withheld: it looks like a token]",
		strings.Repeat("ä", 200):          strings.Repeat("ä", 128) + "…",
		strings.Repeat("x", 255) + "äbcd": strings.Repeat("x", 255) + "…",
	} {
		if got := provider.Said(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
	for in, want := range map[string]string{"": "", "invalid_scope": "invalid_scope", "a b": "malformed", "<b>": "malformed", "ath_tk_x": "malformed", strings.Repeat("a", 65): "malformed"} {
		if got := provider.SaidCode(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
}

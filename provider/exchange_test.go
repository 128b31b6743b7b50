package provider_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

const (
	code     = "code-s3cret"
	verifier = "verifier-s3cret-verifier-s3cret-verifier-s3cret"
	redirect = "https://gw.example/ath/callback"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// exchange redeems a code at a server that runs handler at /token, with
// members added to the provider's configuration. SERVER in them is its URL.
func exchange(t *testing.T, handler http.HandlerFunc, members string) (provider.Tokens, error) {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	opt := testOptions
	opt.AllowHTTP = true
	members = strings.ReplaceAll(`"token_endpoint": "SERVER/token?t=q-s3cret", "client_id": "cl&id", "client_secret": "cl-s3cret+/"`+members, "SERVER", s.URL)
	if strings.Contains(members, `"none"`) {
		members = strings.Replace(members, `"client_secret": "cl-s3cret+/"`, `-client_secret "display_name": "x"`, 1)
	}
	all, faults := provider.Parse("f", []byte(oneProvider(members)), opt)
	if faults != nil {
		t.Fatal(faults)
	}
	c := provider.NewClient(provider.ClientConfig{Timeout: time.Second, Now: func() time.Time { return now }, AllowHTTP: true})
	tokens, err := c.Exchange(t.Context(), all[0], provider.Redemption{Code: ath.NewSecret(code), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"openid"}})
	if err != nil {
		if _, ok := errors.AsType[*provider.ExchangeError](err); !ok {
			t.Errorf("not an ExchangeError: %T", err)
		}
		if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "s3cret") || strings.Contains(text, "?") {
			t.Errorf("an error tells too much: %s", text)
		}
		if tokens.Access.Reveal() != "" || tokens.User != "" {
			t.Error("an error and tokens")
		}
	}
	return tokens, err
}

func answer(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestExchangeRequest(t *testing.T) {
	for method, wants := range map[string]struct{ auth, id, secret string }{
		"client_secret_post":  {"", "cl&id", "cl-s3cret+/"},
		"client_secret_basic": {"Basic " + base64.StdEncoding.EncodeToString([]byte("cl%26id:cl-s3cret%2B%2F")), "", ""},
		"none":                {"", "cl&id", ""},
	} {
		t.Run("C-3: "+method, func(t *testing.T) {
			requests := 0
			_, err := exchange(t, func(w http.ResponseWriter, r *http.Request) {
				requests++
				r.ParseForm()
				want := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {verifier}, "redirect_uri": {redirect}, "audience": {"api"}}
				if wants.id != "" {
					want.Set("client_id", wants.id)
				}
				if wants.secret != "" {
					want.Set("client_secret", wants.secret)
				}
				if got := r.PostForm.Encode(); got != want.Encode() {
					t.Errorf("got form %s", got)
				}
				if r.Method != "POST" || r.Header.Get("Accept") != "application/json" || r.Header.Get("Authorization") != wants.auth || r.URL.RequestURI() != "/token?t=q-s3cret" ||
					r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
					t.Errorf("got %s %s %v", r.Method, r.URL, r.Header)
				}
				http.Error(w, "{}", http.StatusUnauthorized)
			}, `, "extra_token_params": {"audience": "api"}, "token_auth_method": "`+method+`"`)
			if err == nil || requests != 1 {
				t.Errorf("a refused code was sent %d times", requests)
			}
		})
	}
}

// proves: C-4
func TestExchangeReplies(t *testing.T) {
	tests := []struct {
		name, contentType, body string
		want                    provider.Tokens // Access "at" if not said otherwise
		refresh                 string
	}{
		{"everything", "application/json", `{"access_token":"at","token_type":"Bearer","expires_in":3600,"refresh_token":"rt","scope":"a:read b"}`,
			provider.Tokens{Expires: now.Add(time.Hour), Scopes: ath.Scopes{"a:read", "b"}, ScopesGiven: true}, "rt"},
		{"C-4: without scope, expires_in, refresh_token", "application/json; charset=utf-8", `{"access_token":"at","token_type":"bearer"}`, provider.Tokens{}, ""},
		{"without token_type", "application/json", `{"access_token":"at"}`, provider.Tokens{}, ""},
		{"C-4: GitHub: commas", "application/json", `{"access_token":"at","scope":"repo,gist","token_type":"bearer"}`, provider.Tokens{Scopes: ath.Scopes{"repo", "gist"}, ScopesGiven: true}, ""},
		{"C-4: GitHub: a form", "application/x-www-form-urlencoded; charset=utf-8", `access_token=at&scope=repo%2Cgist&token_type=bearer`, provider.Tokens{Scopes: ath.Scopes{"repo", "gist"}, ScopesGiven: true}, ""},
		{"C-4: a form without scope", "application/x-www-form-urlencoded", `access_token=at&expires_in=60`, provider.Tokens{Expires: now.Add(time.Minute)}, ""},
		{"C-4: an empty scope grants nothing", "application/json", `{"access_token":"at","scope":""}`, provider.Tokens{Scopes: ath.Scopes{}, ScopesGiven: true}, ""},
		{"C-4: an empty scope in a form grants nothing", "application/x-www-form-urlencoded", `access_token=at&scope=`, provider.Tokens{Scopes: ath.Scopes{}, ScopesGiven: true}, ""},
		{"scope as a list", "application/json", `{"access_token":"at","scope":["a","b"]}`, provider.Tokens{Scopes: ath.Scopes{"a", "b"}, ScopesGiven: true}, ""},
		{"null members", "application/json", `{"access_token":"at","scope":null,"expires_in":null,"refresh_token":null,"token_type":null,"error":null}`, provider.Tokens{}, ""},
		{"expires_in as text", "application/json", `{"access_token":"at","expires_in":"60"}`, provider.Tokens{Expires: now.Add(time.Minute)}, ""},
		{"expires_in 0", "application/json", `{"access_token":"at","expires_in":0}`, provider.Tokens{}, ""},
		{"expires_in -5", "application/json", `{"access_token":"at","expires_in":-5}`, provider.Tokens{}, ""},
		// F-11
		{"JSON under text/plain", "text/plain; charset=utf-8", ` {"access_token":"at","scope":"a"} `, provider.Tokens{Scopes: ath.Scopes{"a"}, ScopesGiven: true}, ""},
		{"JSON under a form's type", "application/x-www-form-urlencoded", `{"access_token":"at","refresh_token":"a=b&c"}`, provider.Tokens{}, "a=b&c"},
		{"JSON under text/html, with a byte order mark", "text/html", "\ufeff{\"access_token\":\"at\"}", provider.Tokens{}, ""},
		{"a form under application/json", "application/json", `access_token=at&scope=a%2Cb&token_type=bearer`, provider.Tokens{Scopes: ath.Scopes{"a", "b"}, ScopesGiven: true}, ""},
		{"a form under text/plain", "text/plain", "access_token=at&expires_in=60\n", provider.Tokens{Expires: now.Add(time.Minute)}, ""},
		{"no content type", "", `{"access_token":"at"}`, provider.Tokens{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := exchange(t, answer(200, tt.contentType, tt.body), "")
			if err != nil {
				t.Fatal(err)
			}
			if !got.Access.Equal("at") || got.Refresh.Reveal() != tt.refresh || !got.Expires.Equal(tt.want.Expires) ||
				!slices.Equal(got.Scopes, tt.want.Scopes) || got.ScopesGiven != tt.want.ScopesGiven || got.User != "" {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestExchangeRefusals(t *testing.T) {
	const js = "application/json"
	tests := []struct {
		name      string
		handler   http.HandlerFunc
		code      string
		status    int
		temporary bool
	}{
		{"invalid_grant", answer(400, js, `{"error":"invalid_grant","error_description":"code-s3cret"}`), "invalid_grant", 400, false},
		{"GitHub: an error in HTTP 200", answer(200, js, `{"error":"bad_verification_code","error_description":"s3cret"}`), "bad_verification_code", 200, false},
		{"GitHub: an error in HTTP 200 as a form", answer(200, "application/x-www-form-urlencoded", `error=bad_verification_code&error_description=s3cret`), "bad_verification_code", 200, false},
		{"an error beside a token", answer(200, js, `{"error":"x","access_token":"at"}`), "x", 200, false},
		{"an error object beside a token", answer(200, js, `{"error":{"s3cret":1},"access_token":"at"}`), "", 200, false},
		{"Slack: ok false", answer(200, js, `{"ok":false,"access_token":"at"}`), "", 200, false},
		{"a code that is not well-formed", answer(400, js, `{"error":"s3cret <b>"}`), "", 400, false},
		{"a code that is too long", answer(400, js, `{"error":"`+strings.Repeat("a", 65)+`"}`), "", 400, false},
		{"500", answer(500, "text/html", "<h1>code-s3cret</h1>"), "", 500, true},
		{"503 with a code", answer(503, js, `{"error":"temporarily_unavailable"}`), "temporarily_unavailable", 503, true},
		{"429", answer(429, js, `{}`), "", 429, true},
		{"401 without a body", answer(401, "", ``), "", 401, false},
		{"no access_token", answer(200, js, `{"token_type":"bearer","refresh_token":"s3cret"}`), "", 200, false},
		{"empty access_token", answer(200, js, `{"access_token":""}`), "", 200, false},
		{"access_token is no text", answer(200, js, `{"access_token":5}`), "", 200, false},
		{"access_token in other case", answer(200, js, `{"Access_Token":"at"}`), "", 200, false},
		{"a line break in access_token", answer(200, js, `{"access_token":"s3cret\r\nX: y"}`), "", 200, false},
		{"a space in access_token", answer(200, js, `{"access_token":"a s3cret"}`), "", 200, false},
		{"access_token beyond ASCII", answer(200, js, `{"access_token":"é"}`), "", 200, false},
		{"an access_token of 33 KiB", answer(200, js, `{"access_token":"`+strings.Repeat("a", 33<<10)+`"}`), "", 200, false},
		{"a refresh_token of 33 KiB", answer(200, js, `{"access_token":"at","refresh_token":"`+strings.Repeat("a", 33<<10)+`"}`), "", 200, false},
		{"a page with a form's look", answer(200, js, `<a href="?access_token=s3cret">`), "", 200, false},
		{"a form without a token or an error", answer(200, "application/x-www-form-urlencoded", `a=b&scope=x`), "", 200, false},
		{"a code in capitals", answer(400, js, `{"error":"Invalid-Grant.2"}`), "Invalid-Grant.2", 400, false},
		{"a code that echoes what was sent", answer(400, js, `{"error":"code-s3cret"}`), "", 400, false},
		{"a code that echoes a part of the verifier", answer(400, js, `{"error":"verifier-s3cret-verifier"}`), "", 400, false},
		{"a refresh_token with a line break", answer(200, js, `{"access_token":"at","refresh_token":"a\nb"}`), "", 200, false},
		{"mac token", answer(200, js, `{"access_token":"at","token_type":"mac"}`), "", 200, false},
		{"expires_in is no number", answer(200, js, `{"access_token":"at","expires_in":"soon"}`), "", 200, false},
		{"scope is a number", answer(200, js, `{"access_token":"at","scope":5}`), "", 200, false},
		{"scope has odd characters", answer(200, js, `{"access_token":"at","scope":"a\"b"}`), "", 200, false},
		{"not JSON", answer(200, js, `s3cret`), "", 200, false},
		{"JSON, and something after it", answer(200, js, `{"access_token":"at"} s3cret`), "", 200, false},
		{"a list", answer(200, js, `[]`), "", 200, false},
		{"null", answer(200, js, `null`), "", 200, false},
		{"a giant body", answer(200, js, `{"access_token":"at","x":"`+strings.Repeat("x", 257<<10)+`"}`), "", 200, false},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/token" {
				t.Error("a redirect was followed")
			}
			http.Redirect(w, r, "/elsewhere?s3cret", http.StatusTemporaryRedirect)
		}, "", 307, false},
		{"hangs up", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, "", 0, true},
		{"no HTTP", func(w http.ResponseWriter, r *http.Request) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(conn, "s3cret\r\n\r\n")
			conn.Close()
		}, "", 0, true},
		{"cut off", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"access_token":"at"}`)
		}, "", 200, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := exchange(t, tt.handler, "")
			e, ok := errors.AsType[*provider.ExchangeError](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if e.Code != tt.code || e.Status != tt.status || e.Temporary != tt.temporary || e.Provider != "p" {
				t.Errorf("got %+v (%v)", e, e)
			}
		})
	}
}

func TestExchangeDeadlines(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	_, err := exchange(t, slow, "")
	if e, _ := errors.AsType[*provider.ExchangeError](err); e == nil || !e.Temporary || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a slow reply: got %v", err)
	}
	p := parseOne(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = provider.NewClient(provider.ClientConfig{}).Exchange(ctx, p, provider.Redemption{Code: ath.NewSecret(code), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"openid"}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call: got %v", err)
	}
	t.Run("http is refused", func(t *testing.T) {
		opt := testOptions
		opt.AllowHTTP = true
		all, _ := provider.Parse("f", []byte(oneProvider(`"token_endpoint": "http://127.0.0.1:1/"`)), opt)
		_, err := provider.NewClient(provider.ClientConfig{}).Exchange(t.Context(), all[0], provider.Redemption{Code: ath.NewSecret(code), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"openid"}})
		if e, _ := errors.AsType[*provider.ExchangeError](err); e == nil || e.Temporary {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		s := httptest.NewServer(nil)
		s.Close()
		opt := testOptions
		opt.AllowHTTP = true
		all, _ := provider.Parse("f", []byte(oneProvider(`"token_endpoint": "`+s.URL+`/"`)), opt)
		_, err := provider.NewClient(provider.ClientConfig{AllowHTTP: true}).Exchange(t.Context(), all[0], provider.Redemption{Code: ath.NewSecret(code), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"openid"}})
		if e, _ := errors.AsType[*provider.ExchangeError](err); e == nil || !e.Temporary || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("got %v", err)
		}
	})
}

// proves: T-7
func TestUserIDIsReadFromTheRightPlace(t *testing.T) {
	tests := []struct{ name, members, token, userinfo, want string }{
		{"T-7: none", ``, ``, `{"sub":"x"}`, ""},
		{"T-7: userinfo's sub", `, "userinfo_endpoint": "SERVER/me"`, ``, `{"sub":"alice"}`, "alice"},
		{"T-7: GitHub: a numeric id", `, "userinfo_endpoint": "SERVER/me", "user_id_field": "id"`, ``, `{"id":9007199254740993,"sub":"x"}`, "9007199254740993"},
		{"T-7: the token reply's own field", `, "user_id_field": "uid"`, `,"uid":"bob"`, ``, "bob"},
		{"T-7: the token reply's own numeric field", `, "user_id_field": "uid"`, `,"uid":9007199254740993`, ``, "9007199254740993"},
		{"T-7: nested in userinfo", `, "userinfo_endpoint": "SERVER/me", "user_id_field": "data.user_id"`, ``, `{"data":{"user_id":7}}`, "7"},
		{"T-7: nested in the token reply", `, "user_id_field": "a.b.c"`, `,"a":{"b":{"c":"eve"}}`, ``, "eve"},
		{"T-7: a literal name with a dot wins", `, "user_id_field": "data.user_id"`, `,"data":{"user_id":"no"},"data.user_id":"yes"`, ``, "yes"},
		{"T-7: nested, and one step is no object", `, "user_id_field": "a.b.c"`, `,"a":{"b":"c"}`, ``, "error"},
		{"T-7: nested, and it is an object", `, "user_id_field": "a.b"`, `,"a":{"b":{}}`, ``, "error"},
		{"T-7: the token reply lacks it", `, "user_id_field": "uid"`, ``, ``, "error"},
		{"T-7: userinfo lacks it", `, "userinfo_endpoint": "SERVER/me"`, ``, `{"id":"x"}`, "error"},
		{"T-7: userinfo's is an object", `, "userinfo_endpoint": "SERVER/me"`, ``, `{"sub":{}}`, "error"},
		{"T-7: userinfo's has a line break", `, "userinfo_endpoint": "SERVER/me"`, ``, `{"sub":"a\nb"}`, "error"},
		{"T-7: userinfo's is too long", `, "userinfo_endpoint": "SERVER/me"`, ``, `{"sub":"` + strings.Repeat("a", 257) + `"}`, "error"},
		{"T-7: userinfo is no JSON", `, "userinfo_endpoint": "SERVER/me"`, ``, `s3cret`, "error"},
		{"T-7: userinfo is giant", `, "userinfo_endpoint": "SERVER/me"`, ``, `{"sub":"a"}` + strings.Repeat(" ", 257<<10), "error"},
		{"T-7: userinfo refuses", `, "userinfo_endpoint": "SERVER/403"`, ``, ``, "error"},
		{"T-7: userinfo redirects", `, "userinfo_endpoint": "SERVER/302"`, ``, `{"sub":"a"}`, "error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := exchange(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				switch r.URL.Path {
				case "/token":
					fmt.Fprintf(w, `{"access_token":"at-s3cret"%s}`, tt.token)
				case "/me":
					if r.Header.Get("Authorization") != "Bearer at-s3cret" || r.Header.Get("Accept") != "application/json" || r.Method != "GET" {
						t.Errorf("got %v", r.Header)
					}
					io.WriteString(w, tt.userinfo)
				case "/403":
					w.WriteHeader(403)
				case "/302":
					http.Redirect(w, r, "/me", http.StatusFound)
				}
			}, tt.members)
			if tt.want == "error" != (err != nil) || err == nil && got.User != tt.want {
				t.Errorf("got %q, %v", got.User, err)
			}
		})
	}
}

// roundTrip is a transport that answers from memory.
type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

func FuzzTokenReply(f *testing.F) {
	f.Add("application/json", `{"access_token":"at","token_type":"Bearer","expires_in":1e99,"scope":["a"],"uid":1}`)
	f.Add("application/x-www-form-urlencoded", `access_token=at&scope=repo%2Cgist&expires_in=NaN&uid=%00`)
	f.Add("text/plain", `error=x`)
	f.Add("text/plain", ` {"access_token":"at","uid":"u","token_type":"BearerToken"}`)
	f.Add("application/json", `access_token=at&uid=u`)
	f.Add("application/json", `{"ok":true,"team":{"id":"T"},"bot_user_id":"B","authed_user":{"id":"U","access_token":"at","token_type":"user","scope":"a,b"}}`)
	f.Add("application/json", `{"ok":true,"access_token":"at","token_type":"bot","team":[],"authed_user":{"id":{}}}`)
	plain := parseOne(f, `"user_id_field": "uid"`)
	user := parseOne(f, `"preset": "slack", "api_base_url": "https://slack.example"`)
	bot := parseOne(f, `"preset": "slack", "api_base_url": "https://slack.example", "token_kind": "bot"`)
	f.Add("application/json", `{"access_token":"at","scope":"x y a:read","data":{"viewer":{"id":17}}}`)
	f.Add("application/json", `{"access_token":"at","scope":["Mail.Read","x"],"data":{"viewer":{"id":1e3}},"data.viewer.id":null}`)
	dotted := parseOne(f, `"user_id_field": "data.viewer.id", "scope_aliases": {"a:read": "x", "b": "a:read"}, "token_types": ["user"]`)
	f.Fuzz(func(t *testing.T, contentType, body string) {
		for _, p := range []*provider.Provider{plain, user, bot, dotted} {
			redeem(t, p, contentType, body)
		}
	})
}

// redeem has a provider answer with a body; what is made of it must be sound.
func redeem(t *testing.T, p *provider.Provider, contentType, body string) {
	c := provider.NewClient(provider.ClientConfig{Now: func() time.Time { return now }, Transport: roundTrip(func(*http.Request) *http.Response {
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body))}
	})})
	got, err := c.Exchange(t.Context(), p, provider.Redemption{Code: ath.NewSecret(code), Verifier: ath.NewSecret(verifier), RedirectURI: redirect, Scopes: ath.Scopes{"openid"}})
	again, failed := c.RefreshTokens(t.Context(), p, ath.NewSecret("refresh"), ath.Scopes{"a:read"})
	for _, err := range []error{err, failed} {
		if _, ok := errors.AsType[*provider.ExchangeError](err); err != nil && !ok {
			t.Errorf("not an ExchangeError: %v", err)
		}
	}
	if failed == nil && !sound(again.Scopes) {
		t.Errorf("malformed scopes %q of a refresh", again.Scopes)
	}
	if err != nil {
		return
	}
	access := got.Access.Reveal()
	if access == "" || strings.ContainsFunc(access, func(r rune) bool { return r <= ' ' || r > '~' }) {
		t.Errorf("an access token that fits no header: %q", access)
	}
	if !got.Expires.IsZero() && got.Expires.Before(now) || got.User == "" || len(got.User) > 256 {
		t.Errorf("got %+v", got)
	}
	if !sound(got.Scopes) {
		t.Errorf("malformed scopes %q", got.Scopes)
	}
}

// sound reports whether they are scopes, each once.
func sound(scopes ath.Scopes) bool {
	again, err := ath.ParseScopes(scopes)
	return err == nil && len(again) == len(scopes)
}

package provider_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/internal/oauthserver"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
)

const callback = "http://127.0.0.1:8080/ath/callback"

// oauthServer starts a whole OAuth server, which takes a secret by one method only.
func oauthServer(t *testing.T, method string) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	issuer := "http://" + srv.Listener.Addr().String()
	s, err := oauthserver.New(oauthserver.Config{
		Issuer:  issuer,
		Clients: []oauthserver.Client{{ID: "athd", Secret: "secret-of-athd", RedirectURIs: []string{callback}, Scopes: []string{"things:read", "things:write"}, AuthMethod: method}},
		Users:   []oauthserver.User{{ID: "u", Name: "u", Password: "p"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = s
	srv.Start()
	t.Cleanup(srv.Close)
	return issuer
}

// asking is a provider at a server, with fields changed.
func asking(t *testing.T, server string, change map[string]any) *provider.Provider {
	t.Helper()
	fields := map[string]any{
		"display_name": "Shop", "available_scopes": []string{"things:read", "things:write"}, "api_base_url": "https://api.example",
		"authorize_endpoint": server + "/authorize", "token_endpoint": server + "/token", "client_id": "athd", "client_secret": "secret-of-athd",
	}
	maps.Copy(fields, change)
	text, err := json.Marshal(map[string]any{"shop": fields})
	if err != nil {
		t.Fatal(err)
	}
	all, faults := provider.Parse("providers.json", text, provider.Options{AllowHTTP: true})
	if faults != nil {
		t.Fatal(faults)
	}
	return all[0]
}

type verdicts struct{ client, refresh, redirect, scopes provider.Verdict }

func preflight(t *testing.T, p *provider.Provider, redirectURI string) (verdicts, string) {
	t.Helper()
	var v verdicts
	var text strings.Builder
	for _, f := range provider.NewClient(provider.ClientConfig{AllowHTTP: true}).Preflight(t.Context(), p, redirectURI) {
		fmt.Fprintf(&text, "%+v\n", f)
		*map[string]*provider.Verdict{"client": &v.client, "refresh": &v.refresh, "redirect_uri": &v.redirect, "scopes": &v.scopes}[f.Part] = f.Verdict
	}
	if s := p.ClientSecret.Reveal(); s != "" && strings.Contains(text.String(), s) {
		t.Errorf("the client secret is in\n%s", text.String())
	}
	return v, text.String()
}

const (
	right, wrong, untold = provider.Right, provider.Wrong, provider.NotTold
)

func TestPreflightProvesWhatIsConfigured(t *testing.T) {
	post, basic := oauthServer(t, ""), oauthServer(t, "client_secret_basic")
	for _, tt := range []struct {
		name, server, redirect string
		change                 map[string]any
		want                   verdicts
		says                   string
	}{
		{"all is right", post, callback, nil, verdicts{right, right, right, right}, "a wrong secret is answered invalid_client"},
		{"right by HTTP Basic", basic, callback, map[string]any{"token_auth_method": "client_secret_basic"}, verdicts{right, right, right, right}, ""},
		{"a wrong secret", post, callback, map[string]any{"client_secret": "another-secret"}, verdicts{wrong, untold, right, right}, "correct client_id and client_secret"},
		{"an unknown client", post, callback, map[string]any{"client_id": "somebody"}, verdicts{wrong, untold, wrong, untold}, ""},
		{"the wrong method", basic, callback, nil, verdicts{wrong, untold, right, right}, "token_auth_method: client_secret_basic"},
		{"a redirect URI that is not registered", post, callback + "/shop", nil, verdicts{right, right, wrong, untold}, "register " + callback + "/shop for client athd"},
		{"a scope that the server does not know", post, callback, map[string]any{"available_scopes": []string{"things:read", "nonsense:read"}}, verdicts{right, right, right, wrong}, "refuses nonsense:read, and takes things:read"},
		{"no scope that the server knows", post, callback, map[string]any{"available_scopes": []string{"nonsense:read"}}, verdicts{right, right, right, wrong}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, text := preflight(t, asking(t, tt.server, tt.change), tt.redirect)
			if got != tt.want || !strings.Contains(text, tt.says) {
				t.Errorf("%+v, want %+v and %q\n%s", got, tt.want, tt.says, text)
			}
		})
	}
}

// A server of which a test says how it answers.
type standIn struct {
	token     func(client, secret, grant string) (status int, code string)
	authorize func(q url.Values) (status int, to string)
}

func (s standIn) start(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			client, secret, basic := r.BasicAuth()
			if !basic {
				client, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
			}
			status, code := s.token(client, secret, r.PostFormValue("grant_type"))
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"error":%q}`, code)
			return
		}
		status, to := s.authorize(r.URL.Query())
		if to != "" {
			w.Header().Set("Location", to)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// Right needs a witness: a server that answers right and wrong alike proves
// nothing.
func TestPreflightSaysNothingIsRightWithoutAWitness(t *testing.T) {
	good := func(secret string) bool { return secret == "secret-of-athd" }
	toLogin := func(url.Values) (int, string) { return 302, "/login" }
	judging := func(_, secret, _ string) (int, string) {
		if !good(secret) {
			return 401, "invalid_client"
		}
		return 400, "invalid_grant"
	}
	words := func(status int, badCode, badRefresh string, clientStatus int, badClient string) func(_, secret, grant string) (int, string) {
		return func(_, secret, grant string) (int, string) {
			switch {
			case !good(secret):
				return clientStatus, badClient
			case grant == "refresh_token":
				return status, badRefresh
			}
			return status, badCode
		}
	}
	for _, tt := range []struct {
		name string
		s    standIn
		want verdicts
	}{
		{"the code is looked at before the client", standIn{func(_, _, _ string) (int, string) { return 400, "invalid_grant" }, toLogin}, verdicts{untold, untold, untold, untold}},
		{"the server is broken", standIn{func(_, _, _ string) (int, string) { return 500, "server_error" }, func(url.Values) (int, string) { return 503, "" }}, verdicts{untold, untold, untold, untold}},
		{"too many requests", standIn{func(_, _, _ string) (int, string) { return 429, "slow_down" }, func(url.Values) (int, string) { return 429, "" }}, verdicts{untold, untold, untold, untold}},
		{"everything leads to the log-in", standIn{judging, toLogin}, verdicts{right, right, untold, untold}},
		{"it answers at whatever redirect URI", standIn{judging, func(q url.Values) (int, string) {
			return 302, q.Get("redirect_uri") + "?error=invalid_scope"
		}}, verdicts{right, right, untold, wrong}},
		{"refresh by another method", standIn{func(_, secret, grant string) (int, string) {
			if grant == "refresh_token" {
				return 401, "invalid_client"
			}
			return judging("", secret, "")
		}, toLogin}, verdicts{right, wrong, untold, untold}},
		{"the client may not refresh", standIn{func(_, secret, grant string) (int, string) {
			if grant == "refresh_token" && good(secret) {
				return 400, "unauthorized_client"
			}
			return judging("", secret, "")
		}, toLogin}, verdicts{right, wrong, untold, untold}},
		{"unauthorized_client for a wrong secret", standIn{func(_, secret, _ string) (int, string) {
			if !good(secret) {
				return 401, "unauthorized_client"
			}
			return 400, "invalid_grant"
		}, toLogin}, verdicts{right, right, untold, untold}},
		{"Auth0: 403 for a grant, 401 access_denied for a client", standIn{words(403, "invalid_grant", "invalid_grant", 401, "access_denied"), toLogin}, verdicts{right, right, untold, untold}},
		{"access_denied is not about a client with another status", standIn{words(400, "invalid_grant", "invalid_grant", 400, "access_denied"), toLogin}, verdicts{untold, untold, untold, untold}},
		{"GitHub: its own words, with 200", standIn{words(200, "bad_verification_code", "bad_refresh_token", 200, "incorrect_client_credentials"), toLogin}, verdicts{right, right, untold, untold}},
		{"Slack: its own words, with 200", standIn{words(200, "invalid_code", "invalid_refresh_token", 200, "bad_client_secret"), toLogin}, verdicts{right, right, untold, untold}},
		{"an error page by redirect", standIn{judging, func(q url.Values) (int, string) {
			if q.Get("redirect_uri") != callback {
				return 303, "/oauth2/fallbacks/error?error=invalid_request"
			}
			if strings.Contains(q.Get("scope"), "check") {
				return 303, q.Get("redirect_uri") + "?error=invalid_scope"
			}
			return 302, "/login"
		}}, verdicts{right, right, right, right}},
		{"scopes of one's own are refused by a page", standIn{judging, func(q url.Values) (int, string) {
			if q.Get("redirect_uri") != callback || q.Get("scope") != "openid" {
				return 400, ""
			}
			return 302, "/login"
		}}, verdicts{right, right, right, wrong}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, text := preflight(t, asking(t, tt.s.start(t), nil), callback)
			if got != tt.want {
				t.Errorf("%+v, want %+v\n%s", got, tt.want, text)
			}
		})
	}
}

// A refresh is tried as athd would refresh.
func TestPreflightRefreshesAsConfigured(t *testing.T) {
	refreshes := 0
	at := standIn{func(client, secret, grant string) (int, string) { // it wants the secret for codes only
		wanted := "secret-of-athd"
		if grant == "refresh_token" {
			refreshes++
			wanted = ""
		}
		if client != "athd" || secret != wanted {
			return 401, "invalid_client"
		}
		return 400, "invalid_grant"
	}, func(url.Values) (int, string) { return 302, "/login" }}.start(t)
	if got, text := preflight(t, asking(t, at, nil), callback); got.refresh != wrong {
		t.Errorf("with a secret: %+v\n%s", got, text)
	}
	if got, text := preflight(t, asking(t, at, map[string]any{"refresh_token_auth_method": "none"}), callback); got.refresh != right {
		t.Errorf("without one: %+v\n%s", got, text)
	}
	refreshes = 0
	if got, text := preflight(t, asking(t, at, map[string]any{"refresh": false}), callback); got.refresh != "" || got.client != right || refreshes != 0 {
		t.Errorf("refresh: false: %+v after %d refreshes\n%s", got, refreshes, text)
	}
}

// Whoever controls an issuer's metadata sends athd nowhere in the private network.
// proves: A-7
func TestEndpointThatAnIssuerNamesIsAskedAsAStrangers(t *testing.T) {
	t.Run("for a code", func(t *testing.T) {
		askedAsAStrangers(t, func(c *provider.Client, p *provider.Provider) error {
			_, err := c.Exchange(t.Context(), p, provider.Redemption{Code: ath.NewSecret("code"), Verifier: ath.NewSecret("verifier"), RedirectURI: callback})
			return err
		})
	})
	t.Run("for a refresh", func(t *testing.T) {
		askedAsAStrangers(t, func(c *provider.Client, p *provider.Provider) error {
			_, err := c.RefreshTokens(t.Context(), p, ath.NewSecret("refresh-token"), nil)
			if e, ok := errors.AsType[*provider.ExchangeError](err); ok && e.Unsent != (e.Status == 0) {
				t.Errorf("whether it was sent: %+v", e)
			}
			return err
		})
	})
}

func askedAsAStrangers(t *testing.T, ask func(*provider.Client, *provider.Provider) error) {
	t.Helper()
	asked := 0
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(inside.Close)
	d, err := metadata.Parse([]byte(`{"issuer":"http://login.example.com","authorization_endpoint":"http://login.example.com/authorize","token_endpoint":"` + inside.URL + `/token"}`))
	if err != nil {
		t.Fatal(err)
	}
	redeem := func(change map[string]any, c provider.ClientConfig) error {
		fields := map[string]any{"issuer": "http://login.example.com", "authorize_endpoint": "", "token_endpoint": ""}
		maps.Copy(fields, change)
		p, err := asking(t, "", fields).With(d, "")
		if err != nil {
			t.Fatal(err)
		}
		c.AllowHTTP = true
		return ask(provider.NewClient(c), p)
	}
	if err := redeem(nil, provider.ClientConfig{}); err == nil || asked != 0 {
		t.Errorf("it was asked %d times: %v", asked, err)
	}
	for i, allowed := range []func() error{
		func() error { return redeem(map[string]any{"allow_private_issuer": true}, provider.ClientConfig{}) },
		func() error { return redeem(nil, provider.ClientConfig{AllowPrivate: true}) },
		func() error {
			return redeem(map[string]any{"token_endpoint": inside.URL + "/token"}, provider.ClientConfig{})
		}, // the operator's own word
	} {
		if err := allowed(); err == nil || asked != i+1 {
			t.Errorf("%d: it was asked %d times: %v", i, asked, err)
		}
	}
}

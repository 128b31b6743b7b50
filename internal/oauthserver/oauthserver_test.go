package oauthserver_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/internal/oauthserver"
)

const (
	clientID     = "athd"
	clientSecret = "client-secret-for-tests"
	redirectURI  = "http://127.0.0.1:1/ath/callback" // nobody listens there
)

// world is a server, a person's browser before it, and a client behind it.
type world struct {
	*oauthserver.Server
	t       *testing.T
	issuer  string
	browser *browser.Browser
	skew    atomic.Int64 // how far the server's clock is ahead
}

func newWorld(t *testing.T, change func(*oauthserver.Config)) *world {
	t.Helper()
	listener := httptest.NewUnstartedServer(nil)
	w := &world{t: t, issuer: "http://" + listener.Listener.Addr().String(), browser: browser.New()}
	config := oauthserver.Config{
		Issuer: w.issuer,
		Clients: []oauthserver.Client{{
			ID: clientID, Name: "The Shop's Gateway", Secret: clientSecret, RedirectURIs: []string{redirectURI},
			Scopes: []string{"products:read", "cart:write", "orders:read", "openid", "offline_access"},
		}, {
			ID: "other", Secret: "another-secret", RedirectURIs: []string{redirectURI}, Scopes: []string{"products:read"},
		}},
		Users: []oauthserver.User{{ID: "u-1", Name: "alice", Password: "wonderland"}},
		Clock: func() time.Time { return time.Now().Add(time.Duration(w.skew.Load())) },
	}
	if change != nil {
		change(&config)
	}
	server, err := oauthserver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	w.Server = server
	listener.Config.Handler = server
	listener.Start()
	t.Cleanup(listener.Close)
	t.Cleanup(w.browser.Close)
	w.browser.StopAt(func(u *url.URL) bool { return strings.HasPrefix(u.String(), redirectURI) })
	return w
}

// request is an authorization request and the secret half of its PKCE pair.
type request struct {
	url.Values
	verifier string
}

func newRequest(scope string) request {
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	return request{url.Values{
		"client_id": {clientID}, "redirect_uri": {redirectURI}, "response_type": {"code"},
		"scope": {scope}, "state": {"the state"},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(sum[:])},
		"code_challenge_method": {"S256"},
	}, verifier}
}

func (w *world) open(r request) *browser.Page {
	w.t.Helper()
	return w.must(w.browser.Get(w.t.Context(), w.issuer+"/authorize?"+r.Encode()))
}

func (w *world) submit(f *browser.Form) *browser.Page {
	w.t.Helper()
	return w.must(w.browser.Submit(w.t.Context(), f))
}

func (w *world) must(page *browser.Page, err error) *browser.Page {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	return page
}

func (w *world) login(page *browser.Page) *browser.Page {
	w.t.Helper()
	return w.submit(page.Form().Fill("username", "alice").Fill("password", "wonderland"))
}

// code walks through login and consent, without the unticked scopes.
func (w *world) code(r request, unticked ...string) string {
	w.t.Helper()
	form := w.login(w.open(r)).Form()
	for _, scope := range unticked {
		form.Untick("scope", scope)
	}
	back := w.submit(form.Press("decision", "allow"))
	if code := back.URL.Query().Get("code"); back.Stopped && code != "" {
		return code
	}
	w.t.Fatalf("no code: %d %s %s", back.Status, back.URL, back.Text)
	return ""
}

type tokens struct {
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token"`
	IDToken   string `json:"id_token"`
	Type      string `json:"token_type"`
	ExpiresIn int    `json:"expires_in"`
	Scope     string `json:"scope"`
	Error     string `json:"error"`

	status int
	header http.Header
	body   string
}

func (w *world) post(path string, form url.Values, with func(*http.Request)) tokens {
	w.t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(w.t.Context()), http.MethodPost, w.issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if with != nil {
		with(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	got := tokens{status: resp.StatusCode, header: resp.Header, body: string(body)}
	_ = json.Unmarshal(body, &got) // revocation has no body, and habits may not be JSON
	return got
}

func (w *world) redeem(code, verifier string) tokens {
	w.t.Helper()
	return w.post("/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI},
		"code_verifier": {verifier}, "client_id": {clientID}, "client_secret": {clientSecret},
	}, nil)
}

func (w *world) refresh(token string) tokens {
	w.t.Helper()
	return w.post("/token", url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {token},
		"client_id": {clientID}, "client_secret": {clientSecret},
	}, nil)
}

func (w *world) revoke(token string) int {
	w.t.Helper()
	return w.post("/revoke", url.Values{
		"token": {token}, "client_id": {clientID}, "client_secret": {clientSecret},
	}, nil).status
}

// granted walks the whole flow and returns its tokens.
func (w *world) granted(scope string, unticked ...string) tokens {
	w.t.Helper()
	r := newRequest(scope)
	got := w.redeem(w.code(r, unticked...), r.verifier)
	if got.status != http.StatusOK {
		w.t.Fatalf("token: %d %s", got.status, got.body)
	}
	return got
}

func (w *world) wantLive(token, scopes string) {
	w.t.Helper()
	user, got, ok := w.Lookup(token)
	if want := cmp.Or(scopes, "-"); !ok || user != "u-1" || want != "-" && strings.Join(got, " ") != want {
		w.t.Errorf("Lookup = %q, %q, %v, want u-1 and %q", user, got, ok, scopes)
	}
}

func (w *world) wantDead(token string) {
	w.t.Helper()
	if user, _, ok := w.Lookup(token); ok {
		w.t.Errorf("Lookup: the token is alive, for %q", user)
	}
}

func (w *world) get(path, token string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.issuer+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

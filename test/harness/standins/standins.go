// Package standins has servers that speak OAuth as services document it, with
// what is theirs in it, and an API behind it that answers every call and
// remembers it: [GitHub], [GitHubApp], [Google], [Slack], [SlackRotating],
// [Auth0], [Clerk], [Entra], [Keycloak], [Okta]. Each habit stands with the page that says
// so. There is one user, who agrees to everything that she was not told to
// refuse. A server checks what it is sent as strictly as the service would,
// listens on the loopback interface and ends with its test.
package standins

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/athd/athd/test/harness/leak"
)

// The client that the servers know.
const (
	ClientID     = "client-of-athd"
	ClientSecret = "secret-of-athd-at-a-stand-in-0123456789"
)

// A Server is a service's OAuth server with its API.
type Server struct {
	Preset       string // the preset that describes it
	URL          string
	AuthorizeURL string
	TokenURL     string
	APIBase      string
	Issuer       string // of those that have one

	sendsIss bool // with the code (RFC 9207)

	t    testing.TB
	mux  *http.ServeMux
	mu   sync.Mutex
	no   []string // scopes that the user refuses
	code map[string]asked
	held map[string]issued
	seen []Request
	turns
}

// A Grant is what a token stands for.
type Grant struct {
	Kind   string // user or bot
	Scopes []string
}

// A Request is a call that has arrived at the API.
type Request struct {
	Method string
	Target string // path and query, as they came
	Token  string // of the Authorization header
}

// asked is an authorization that has a code.
type asked struct {
	Grant
	redirect, challenge string
	query               url.Values
}

func newServer(t testing.TB, preset, authorize, token, base string) *Server {
	t.Helper()
	s := &Server{Preset: preset, t: t, mux: http.NewServeMux(), code: map[string]asked{}, held: map[string]issued{}, turns: turns{lines: map[string]*line{}}}
	watch := leak.Of(t)
	watch.Secret("athd's client secret at "+preset, ClientSecret)
	srv := httptest.NewServer(watch.Handler(s.mux))
	t.Cleanup(srv.Close)
	s.URL = srv.URL
	s.AuthorizeURL, s.TokenURL, s.APIBase = s.URL+authorize, s.URL+token, s.URL+base
	s.mux.HandleFunc("/", s.api)
	return s
}

// Fields returns the server's entry for providers.json. Fields of more are
// added, or replace what is there; null takes a field away.
func (s *Server) Fields(scopes []string, more map[string]any) map[string]any {
	all := map[string]any{
		"display_name": s.Preset, "preset": s.Preset, "available_scopes": scopes,
		"authorize_endpoint": s.AuthorizeURL, "token_endpoint": s.TokenURL, "api_base_url": s.APIBase,
		"client_id": ClientID, "client_secret": ClientSecret,
	}
	for name, value := range more {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	return all
}

// Refuse has the user refuse these scopes one by one, and agree to the rest.
func (s *Server) Refuse(scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.no = scopes
}

// Grant returns what a token stands for, if the server has issued it.
func (s *Server) Grant(token string) (Grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.held[token]
	if !ok {
		return Grant{}, false
	}
	return h.line.Grant, true
}

// Requests returns the calls that have arrived at the API, with those that ask
// who the user is.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// Forget drops the calls that have arrived.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = nil
}

// Code asks for authorization with a URL, as a browser does, and returns the
// code that the user comes back with.
func (s *Server) Code(authorizationURL string) string {
	s.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(authorizationURL)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		s.t.Fatalf("%s answered %s: %s", s.Preset, resp.Status, resp.Header.Get("X-Problem"))
	}
	return back.Query().Get("code")
}

// authorize serves the authorization endpoint (RFC 6749, section 4.1.1). read
// says what the query asks for, or what is wrong with it.
func (s *Server) authorize(path string, read func(q url.Values) (g Grant, problem string)) {
	s.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		g, problem := read(q)
		switch {
		case problem != "":
		case q.Get("client_id") != ClientID || q.Get("response_type") != "code" || q.Get("state") == "":
			problem = "client_id, response_type or state is wrong"
		case q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "":
			problem = "there is no PKCE challenge"
		}
		back, err := url.Parse(q.Get("redirect_uri"))
		if err != nil || back.Host == "" {
			problem = "redirect_uri is wrong"
		}
		if problem != "" {
			w.Header().Set("X-Problem", problem)
			http.Error(w, problem, http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		g.Scopes = slices.DeleteFunc(g.Scopes, func(scope string) bool { return slices.Contains(s.no, scope) })
		code := rand.Text()
		s.code[code] = asked{g, q.Get("redirect_uri"), q.Get("code_challenge"), q}
		answer := url.Values{"code": {code}, "state": {q.Get("state")}}
		if s.sendsIss {
			answer.Set("iss", s.Issuer)
		}
		back.RawQuery = answer.Encode()
		http.Redirect(w, r, back.String(), http.StatusFound)
	})
}

// redeem checks a token request and spends its code. What it returns names one
// of badClient and badCode, or is "".
func (s *Server) redeem(r *http.Request, badClient, badCode string) (a asked, token, problem string) {
	if err := r.ParseForm(); err != nil || r.PostForm.Get("client_id") != ClientID || r.PostForm.Get("client_secret") != ClientSecret {
		return asked{}, "", badClient
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.code[r.PostForm.Get("code")]
	delete(s.code, r.PostForm.Get("code"))
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	if !ok || a.redirect != r.PostForm.Get("redirect_uri") || a.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
		return asked{}, "", badCode
	}
	token = s.issue(&line{Grant: a.Grant}, 0)
	return a, token, ""
}

// api answers every call with a token that the server has issued.
func (s *Server) api(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	s.seen = append(s.seen, Request{r.Method, r.RequestURI, token})
	ok := s.alive(token) && s.held[token].line.Kind != "userinfo"
	s.mu.Unlock()
	if !ok {
		reply(w, http.StatusUnauthorized, map[string]any{"message": "Bad credentials"})
		return
	}
	reply(w, http.StatusOK, map[string]any{"ok": true, "id": 583231})
}

func reply(w http.ResponseWriter, status int, members map[string]any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(members)
}

func fields(s string, separators string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(separators, r) })
}

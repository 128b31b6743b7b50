package handshake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/revocation"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// A service is an OAuth server at which users end what they have allowed. Its
// access tokens live for five minutes.
type service struct {
	*httptest.Server

	mu      sync.Mutex
	user    string // who is signed in there, in every browser
	scope   string // that it grants; "": as asked
	sub     string // what userinfo says; "": the token's user
	codes   int    // redeemed
	refused string // of the token endpoint: an error code
	ended   map[string]bool
	tokens  map[string]string // users, by access and refresh token
	issued  int
	perUser bool          // a consent ends the user's older tokens
	hold    chan struct{} // a redemption waits for it
	arrived chan struct{}
	asked   url.Values // of the last authorization
}

func newService(t *testing.T) *service {
	s := &service{user: "alice", ended: map[string]bool{}, tokens: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = r.URL.Query()
		q := url.Values{"state": {s.asked.Get("state")}, "code": {"code-of." + s.user}}
		s.mu.Unlock()
		http.Redirect(w, r, r.URL.Query().Get("redirect_uri")+"?"+q.Encode(), http.StatusFound)
	})
	mux.HandleFunc("POST /token", s.serveToken)
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		user := s.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		if s.sub != "" {
			user = s.sub
		}
		json.NewEncoder(w).Encode(map[string]string{"sub": user})
	})
	mux.HandleFunc("POST /revoke", func(http.ResponseWriter, *http.Request) {})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *service) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	s.mu.Lock()
	hold := s.hold
	if r.PostFormValue("grant_type") == "authorization_code" {
		s.codes++
	}
	s.mu.Unlock()
	if hold != nil {
		s.arrived <- struct{}{}
		<-hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, user, _ := strings.Cut(r.PostFormValue("code"), ".")
	refused := s.refused
	if old := r.PostFormValue("refresh_token"); old != "" {
		if user = s.tokens[old]; s.ended[old] {
			refused = "invalid_grant"
		}
	}
	if refused != "" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":%q}`, refused)
		return
	}
	for token, whose := range s.tokens {
		if s.perUser && r.PostFormValue("code") != "" && whose == user {
			s.ended[token] = true
		}
	}
	s.issued++
	access, refresh := fmt.Sprintf("access-token-%d-of-the-service", s.issued), fmt.Sprintf("refresh-token-%d-of-the-service", s.issued)
	s.tokens[access], s.tokens[refresh] = user, user
	out := map[string]any{"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": 300}
	if s.scope != "" {
		out["scope"] = s.scope
	}
	json.NewEncoder(w).Encode(out)
}

// set changes it.
func (s *service) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// end ends all that users have allowed.
func (s *service) end() {
	s.set(func() {
		for token := range s.tokens {
			s.ended[token] = true
		}
	})
}

func (s *service) redeemed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.codes
}

const serviceSecret = "client-secret-of-athd-at-the-service"

func (s *service) provider(t *testing.T, public, fields string) *provider.Set {
	t.Helper()
	all, faults := provider.Parse("providers.json", []byte(`{"service": {"display_name": "The Service", "available_scopes": ["read", "write"],
		"authorize_endpoint": "`+s.URL+`/authorize", "token_endpoint": "`+s.URL+`/token", "revocation_endpoint": "`+s.URL+`/revoke",
		"client_id": "athd", "client_secret": "`+serviceSecret+`", "api_base_url": "https://api.service.example",
		"scope_rules": [{"scope": "read", "methods": ["GET"], "paths": ["/things"]}, {"scope": "write", "methods": ["POST"], "paths": ["/things"]}]`+
		strings.ReplaceAll(fields, "SERVER", s.URL)+`}}`), provider.Options{AllowHTTP: true, PublicURL: public})
	if faults != nil {
		t.Fatal(faults)
	}
	set, err := provider.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

const asksUserinfo = `, "userinfo_endpoint": "SERVER/userinfo"`

// A healable is a world with one service, and an agent whose token the service has
// ended.
type healable struct {
	*world
	service   *service
	providers *provider.Providers
	decider   *authz.Decider
	agent     *actor
	token     string
}

// newHealable has alice allow the agent, and ends that at the service.
func newHealable(t *testing.T, fields string, options ...option) *healable {
	t.Helper()
	h := newHealthy(t, fields, options...)
	h.worn(t)
	return h
}

func newHealthy(t *testing.T, fields string, options ...option) *healable {
	t.Helper()
	h := &healable{service: newService(t)}
	h.world = newWorld(t, append([]option{func(c *settings) {
		h.providers = provider.NewProviders(h.service.provider(t, c.PublicURL, fields))
		c.Providers = h.providers
		c.Store = opened(t, c, tokenstore.Config{URL: tokenstore.Embedded})
	}}, options...)...)
	h.watch.Secret("athd's secret at the service", serviceSecret)
	h.store = h.config.Store
	h.decider = h.decides(t, h.store)
	h.agent = h.actor("heals")
	h.token = h.allow(t, h.agent, "alice", "read", "write")
	return h
}

// opened is a store that has the providers told of grants that are over (V-5).
func opened(t *testing.T, c *settings, where tokenstore.Config) *tokenstore.Store {
	t.Helper()
	where.Now, where.Timeout, where.Logger = c.Now, 10*time.Second, c.Logger
	where.Upstream = &revocation.Policy{Providers: c.Providers, Logger: c.Logger, Observe: func(string, string) {}}
	store, err := tokenstore.Open(where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// decides is what decides at one replica.
func (h *healable) decides(t *testing.T, store *tokenstore.Store) *authz.Decider {
	t.Helper()
	v, err := vault.New(vault.Config{Store: store, OAuth: h.config.OAuth, Audit: h.config.Audit, Logger: h.config.Logger, Now: h.now, Wait: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close(t.Context()) })
	consent := h.config.ConsentURL
	if consent == "" {
		consent = h.public
	}
	d, err := authz.New(authz.Config{
		Store: store, Renewer: v, Providers: h.providers, Audit: h.config.Audit, Logger: h.config.Logger, Now: h.now,
		PublicURL: h.public, Healer: store, ConsentURL: consent,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// allow registers an agent and has a user allow it.
func (h *healable) allow(t *testing.T, a *actor, user string, scopes ...string) string {
	t.Helper()
	if a.clientID == "" {
		a.register("service", "read", "write")
	}
	h.service.set(func() { h.service.user = user })
	link, session := a.authorize("service", scopes)
	page := h.press(h.newBrowser(), link, "Allow")
	r := h.post("/ath/token", a.exchange(session, athCode.FindString(page.Body)))
	if r.text("access_token") == "" {
		t.Fatalf("no token: %d %s\n%s", r.status, r.raw, page.Text)
	}
	return r.text("access_token")
}

// worn lets the access tokens of now end, and the service end what users allowed.
func (h *healable) worn(t *testing.T) {
	t.Helper()
	h.service.end()
	h.pass(6 * time.Minute)
}

// press opens a link and presses a button on the page behind it.
func (h *healable) press(b *browser.Browser, link, button string) *browser.Page {
	h.t.Helper()
	page, err := b.Get(h.t.Context(), link)
	if err == nil && page.Status == http.StatusOK && strings.Contains(page.Body, "<form") {
		page, err = b.Submit(h.t.Context(), page.Form().Click(button))
	}
	if err != nil {
		h.t.Fatalf("the user's browser: %v\n%v", err, b.Steps())
	}
	return page
}

// call asks whether the agent's call passes, with a token of its own.
func (h *healable) call(t *testing.T, by *authz.Decider, a *actor, token, method string) authz.Decision {
	t.Helper()
	return by.Decide(t.Context(), authz.Request{
		Method: method, Path: "/ath/proxy/service/things", Provider: "service", Mount: "/ath/proxy/service/",
		Authorization: []string{"Bearer " + token}, AgentID: []string{a.id},
	})
}

func (h *healable) reason(t *testing.T) authz.Reason {
	t.Helper()
	d := h.call(t, h.decider, h.agent, h.token, "GET")
	return d.Reason()
}

// linkIn is the link that a refusal carries; "": none.
func linkIn(t *testing.T, d authz.Decision) string {
	t.Helper()
	if d.Allowed() {
		t.Fatal("the call passes")
	}
	var body struct {
		Details struct {
			URL string `json:"authorization_url"`
		}
	}
	if err := json.Unmarshal(d.Refusal().Body(), &body); err != nil {
		t.Fatal(err)
	}
	return body.Details.URL
}

// link has the agent call, and returns the link of the refusal.
func (h *healable) link(t *testing.T) string {
	t.Helper()
	d := h.call(t, h.decider, h.agent, h.token, "GET")
	if d.Reason() != authz.ReauthorizationRequired {
		t.Fatalf("refused as %s", d.Reason())
	}
	link := linkIn(t, d)
	if !strings.HasPrefix(link, h.decidesAt()+ath.HealPath) || len(link) > 2048 {
		t.Fatalf("the link is %q", link)
	}
	return link
}

func (h *healable) decidesAt() string {
	if h.config.ConsentURL != "" {
		return h.config.ConsentURL
	}
	return h.public
}

// tokens are those of the user's that are stored behind the agent's token; nil: none.
func (h *healable) tokens(t *testing.T) *tokenstore.Connection {
	t.Helper()
	return h.connection(t, h.agent, h.token)
}

// unhealed wants a page that says that nothing was changed, for a reason.
func unhealed(t *testing.T, page *browser.Page, reason string) {
	t.Helper()
	if !strings.Contains(page.Body, `data-reason="`+reason+`"`) || !strings.Contains(page.Text, "Nothing was changed") {
		t.Errorf("want %s: %d %s", reason, page.Status, page.Text)
	}
}

func healed(t *testing.T, page *browser.Page) {
	t.Helper()
	if page.Status != http.StatusOK || !strings.Contains(page.Body, `id="healed"`) {
		t.Fatalf("the last page: %d %s", page.Status, page.Text)
	}
	if athCode.MatchString(page.Body) || strings.Contains(page.Body, "ath_sess_") {
		t.Error("the last page has a code or session of ours")
	}
}

// replace has the world run with another configuration of the provider.
func (h *healable) replace(t *testing.T, p *provider.Provider) {
	t.Helper()
	set, err := provider.NewSet(p)
	if err != nil {
		t.Fatal(err)
	}
	h.providers.Replace(set)
}

// Package handshake plays agents, users and providers against the companion,
// rule by rule of the protocol, on a clock of its own.
package handshake

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/admin"
	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/catalog"
	"github.com/athd/athd/client"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/internal/oauthserver"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/identity"
	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

const (
	oauthSecret = "client-secret-of-athd-0123456789"
	adminToken  = "admin-token-for-the-operator-0123456789"
)

// A world is a companion with everything around it.
type world struct {
	t      testing.TB
	public string
	oauth  *oauthserver.Server
	issuer string
	store  *tokenstore.Store
	set    *provider.Set
	site   *http.ServeMux
	sites  string
	config settings

	watch *leak.Watch

	mu    sync.Mutex
	ahead time.Duration
	logs  bytes.Buffer
}

type option func(*settings)

// settings are those of every part of a companion.
type settings struct {
	flowConfig
	serverConfig
	AdminPrivate bool   // operators are served elsewhere: see build
	Destination  string // as operators are told it
	Catalog      *catalog.Catalog
	Runtime      provider.Options // of providers that are added while it runs
	NoRoute      bool             // Envoy has none for them
	Explain      func(context.Context, authz.Question) (*api.Explanation, error)
	Refresh      func(context.Context, *provider.Provider, tokenstore.ConnectionRef) vault.Report
}

type (
	flowConfig   = athflow.Config
	serverConfig = httpapi.Config
)

// build puts a companion together, as cmd/athd does.
func build(c settings) (companion, operators http.Handler, err error) {
	server, err := httpapi.New(c.serverConfig)
	if err != nil {
		return nil, nil, err
	}
	operate, err := admin.New(admin.Config{
		Server: server, Providers: c.Providers, Attest: c.Attest, Policy: c.Policy, Destination: c.Destination, Explain: c.Explain, Refresh: c.Refresh,
		Catalog: c.Catalog, ProviderOptions: c.Runtime, RuntimeRoute: !c.NoRoute, ProvidersFile: "providers.json", CallbackPerProvider: c.CallbackPerProvider,
	})
	if err != nil {
		return nil, nil, err
	}
	c.Server = server
	if !c.AdminPrivate {
		c.Operators = operate.Routes()
	}
	flow, err := athflow.New(c.flowConfig)
	if err != nil {
		return nil, nil, err
	}
	return flow.Handler(), operate.Handler(), nil
}

// newWorld starts a world in which everything is approved, with a gateway
// provider "gallery" and an app "shop".
func newWorld(t testing.TB, options ...option) *world {
	t.Helper()
	w := &world{t: t, site: http.NewServeMux()}
	srv := httptest.NewUnstartedServer(nil)
	w.public = "http://" + srv.Listener.Addr().String()
	sites := httptest.NewServer(w.site)
	t.Cleanup(sites.Close)
	w.sites = sites.URL
	w.startOAuth()
	w.loadProviders()

	logger := slog.New(slog.NewJSONHandler(lockedWriter{w}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if w.store, err = tokenstore.Open(tokenstore.Config{URL: tokenstore.Embedded, Now: w.now, Timeout: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	verifier, err := attest.New(attest.Config{
		Once: func(ctx context.Context, a ath.AgentID, what, value string, ttl time.Duration) (bool, error) {
			return w.store.Once(ctx, a.Tag(), what, value, ttl)
		},
		Now: w.now, AllowHTTP: true, AllowPrivateHosts: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.config = settings{
		flowConfig: athflow.Config{
			PublicURL: w.public, Providers: provider.NewProviders(w.set), Attest: verifier,
			OAuth:  provider.NewClient(provider.ClientConfig{Now: w.now, AllowHTTP: true}),
			Policy: approval.Policy{Default: approval.Approve}, TokenTTL: time.Hour, SessionTTL: 10 * time.Minute,
			Consent: athflow.ConsentPage, AllowHTTP: true,
		},
		serverConfig: httpapi.Config{
			Store: w.store, Audit: audit.New(audit.Config{Writer: lockedWriter{w}, JSON: true, Now: w.now}), Logger: logger, Now: w.now,
			AdminTokens: []httpapi.AdminToken{{Operator: httpapi.Operator{Name: "ops", Role: api.RoleAdmin}, Digest: ath.DigestOf(adminToken)}},
		},
	}
	for _, o := range options {
		o(&w.config)
	}
	if w.config.Catalog == nil {
		w.config.Catalog = w.catalog(&w.config)
	}
	w.serve(srv)
	w.watch = leak.Of(t)
	t.Cleanup(w.findLeaks)
	return w
}

// catalog knows the providers of a companion, those of files and those that are added
// while it runs.
func (w *world) catalog(c *settings) *catalog.Catalog {
	w.t.Helper()
	known := w.unread(c)
	if err := known.Load(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return known
}

// unread is a catalog that has not read the store yet.
func (w *world) unread(c *settings) *catalog.Catalog {
	w.t.Helper()
	keeper, err := issuer.New(issuer.Config{Store: c.Store, Providers: c.Providers, Fetch: c.OAuth.Metadata, Audit: c.Audit, Logger: c.Logger, Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	known, err := catalog.New(catalog.Config{
		Store: c.Store, Issuers: keeper, Providers: c.Providers, Files: c.Providers.Current(), Audit: c.Audit, Logger: c.Logger, Now: w.now,
		Parse: func(id string, data []byte) (*provider.Provider, error) {
			p, faults := provider.ParseOne(id, data, c.Runtime)
			return p, faults.Err()
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return known
}

// findLeaks fails the test if a secret that passed through this world stands in the
// log, which is kept at debug level with the audit events, or in a refusal.
func (w *world) findLeaks() {
	w.watch.Secret("athd's client secret", oauthSecret)
	w.watch.Secret("the operator's token", adminToken)
	for _, issued := range w.oauth.Issued() {
		w.watch.Secret("a code or token of the OAuth server", issued)
	}
	w.watch.Check(w.t, map[string][]byte{"athd's log": []byte(w.log())})
}

func (w *world) serve(srv *httptest.Server) {
	companion, _, err := build(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	srv.Config.Handler = companion
	srv.Start()
	w.t.Cleanup(srv.Close)
}

// twin returns the URL of another replica: same store, other process.
func (w *world) twin(options ...option) string {
	w.t.Helper()
	c := w.config
	for _, o := range options {
		o(&c)
	}
	companion, _, err := build(c)
	if err != nil {
		w.t.Fatal(err)
	}
	srv := httptest.NewServer(companion)
	w.t.Cleanup(srv.Close)
	return srv.URL
}

type lockedWriter struct{ w *world }

func (l lockedWriter) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.logs.Write(p)
}

func (w *world) log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logs.String()
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

func (w *world) startOAuth() {
	srv := httptest.NewUnstartedServer(nil)
	w.issuer = "http://" + srv.Listener.Addr().String()
	var err error
	w.oauth, err = oauthserver.New(oauthserver.Config{
		Issuer: w.issuer,
		Clients: []oauthserver.Client{{ID: "athd", Secret: oauthSecret, RedirectURIs: []string{w.public + "/ath/callback"},
			Scopes: []string{"pictures:read", "pictures:write", "products:read"}}},
		Users: []oauthserver.User{{ID: "user-1", Name: "alice", Password: "wonderland"}, {ID: "user-2", Name: "bob", Password: "builder"}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	srv.Config.Handler = w.oauth
	srv.Start()
	w.t.Cleanup(srv.Close)
}

func (w *world) loadProviders() {
	w.t.Helper()
	list, faults := provider.Parse("providers.json", []byte(`{"gallery": {
		"display_name": "The Gallery", "available_scopes": ["pictures:read", "pictures:write"], "categories": ["art"],
		"authorize_endpoint": "`+w.issuer+`/authorize", "token_endpoint": "`+w.issuer+`/token", "api_base_url": "https://api.gallery.example",
		"client_id": "athd", "client_secret": "`+oauthSecret+`", "issuer": "`+w.issuer+`", "userinfo_endpoint": "`+w.issuer+`/userinfo"}}`),
		provider.Options{AllowHTTP: true, PublicURL: w.public})
	if len(faults) > 0 {
		w.t.Fatal(faults)
	}
	shop := *list[0]
	shop.ID, shop.DisplayName, shop.Scopes = "shop", "The Shop", ath.Scopes{"products:read"}
	shop.App = &provider.App{Name: "The Shop", Upstream: list[0].APIBase, APIBase: w.public, Audience: w.public, CallbackURL: w.public + "/ath/callback"}
	var err error
	if w.set, err = provider.NewSet(append(list, &shop)...); err != nil {
		w.t.Fatal(err)
	}
}

// An actor is an agent that can lie: it signs what a test tells it to.
type actor struct {
	w   *world
	id  string
	doc *client.Identity
	key *ecdsa.PrivateKey

	clientID, secret string
}

// actor publishes a new agent. Its name is its document's.
func (w *world) actor(name string) *actor {
	w.t.Helper()
	doc, key := identity.New(w.t, w.sites+"/"+name+".json", "Agent "+name)
	w.site.Handle("/"+name+".json", doc)
	return &actor{w: w, id: doc.ID(), doc: doc, key: key}
}

// attest signs an attestation as clients in the field do, changed by change.
func (a *actor) attest(audience string, change ...func(jwt.MapClaims)) string {
	a.w.t.Helper()
	now := a.w.now()
	claims := jwt.MapClaims{
		"iss": a.id, "sub": a.id, "aud": audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": rand.Text(),
	}
	for _, c := range change {
		c(claims)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = "key-1"
	s, err := token.SignedString(a.key)
	if err != nil {
		a.w.t.Fatal(err)
	}
	return s
}

type body map[string]any

// with returns a copy with some fields replaced, or removed where nil.
func (b body) with(pairs ...any) body {
	out := body{}
	maps.Copy(out, b)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == nil {
			delete(out, pairs[i].(string))
		} else {
			out[pairs[i].(string)] = pairs[i+1]
		}
	}
	return out
}

func (a *actor) registration(provider string, scopes ...string) body {
	return body{
		"agent_id": a.id, "agent_attestation": a.attest(a.w.public), "purpose": "testing",
		"developer":           body{"name": "Demo Developers", "id": "demo-developers"},
		"requested_providers": []body{{"provider_id": provider, "scopes": scopes}},
		"redirect_uris":       []string{a.w.public + "/ath/callback", "https://agent.example/cb?x=1", "http://127.0.0.1/cb"},
	}
}

func (a *actor) authorization(provider string, scopes ...string) body {
	return body{
		"client_id": a.clientID, "agent_attestation": a.attest(a.w.public), "provider_id": provider,
		"scopes": scopes, "state": "state-of-the-agent",
	}
}

func (a *actor) exchange(session, code string) body {
	return body{
		"grant_type": "authorization_code", "client_id": a.clientID, "client_secret": a.secret,
		"agent_attestation": a.attest(a.w.public + "/ath/token"), "code": code, "ath_session_id": session,
	}
}

// register registers for real.
func (a *actor) register(provider string, scopes ...string) reply {
	a.w.t.Helper()
	r := a.w.post("/ath/agents/register", a.registration(provider, scopes...))
	if r.status == http.StatusCreated {
		a.clientID, a.secret = r.text("client_id"), r.text("client_secret")
	}
	return r
}

// authorize opens a session, optionally changed.
func (a *actor) authorize(provider string, scopes []string, change ...any) (url, session string) {
	a.w.t.Helper()
	r := a.w.post("/ath/authorize", a.authorization(provider, scopes...).with(change...))
	if r.status != http.StatusOK {
		a.w.t.Fatalf("authorize: %v", r)
	}
	return r.text("authorization_url"), r.text("ath_session_id")
}

// A reply is what the companion answered.
type reply struct {
	status int
	header http.Header
	raw    string
	json   map[string]any
}

func (r reply) text(field string) string     { s, _ := r.json[field].(string); return s }
func (r reply) code() string                 { return r.text("code") }
func (r reply) details() map[string]any      { m, _ := r.json["details"].(map[string]any); return m }
func (r reply) list(field string) []any      { l, _ := r.json[field].([]any); return l }
func (r reply) is(status int, c string) bool { return r.status == status && r.code() == c }

func (w *world) post(path string, b any, headers ...string) reply {
	w.t.Helper()
	return w.postTo(w.public, path, b, headers...)
}

func (w *world) postTo(base, path string, b any, headers ...string) reply {
	w.t.Helper()
	var text []byte
	switch v := b.(type) {
	case string:
		text = []byte(v)
	default:
		var err error
		if text, err = json.Marshal(v); err != nil {
			w.t.Fatal(err)
		}
	}
	req, err := http.NewRequest("POST", base+path, bytes.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return w.send(req)
}

func (w *world) get(path string) reply {
	w.t.Helper()
	req, err := http.NewRequest("GET", w.public+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.send(req)
}

func (w *world) send(req *http.Request) reply {
	w.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Error(err)
		return reply{}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		w.t.Error(err)
	}
	w.watch.Refusal(req.URL.Path, resp.StatusCode, text)
	if resp.StatusCode < http.StatusBadRequest {
		w.watch.Text(string(text))
	}
	r := reply{status: resp.StatusCode, header: resp.Header, raw: string(text)}
	json.Unmarshal(text, &r.json)
	return r
}

// atProvider opens the link, allows on our page and logs in at the provider; it
// returns the provider's consent page.
func (w *world) atProvider(b *browser.Browser, link, user string) *browser.Page {
	w.t.Helper()
	page, err := b.Get(w.t.Context(), link)
	if err == nil && page.URL.Path == "/ath/consent/start" {
		if page.Status != http.StatusOK {
			w.t.Fatalf("our page: %d %s", page.Status, page.Text)
		}
		page, err = b.Submit(w.t.Context(), page.Form().Click("Allow"))
	}
	if err == nil && strings.Contains(page.Body, `name="password"`) {
		page, err = b.Submit(w.t.Context(), page.Form().Fill("username", user).Fill("password", map[string]string{"alice": "wonderland", "bob": "builder"}[user]))
	}
	if err != nil {
		w.t.Fatalf("the user's browser: %v\n%v", err, b.Steps())
	}
	return page
}

// consent goes all the way and returns the last page.
func (w *world) consent(b *browser.Browser, link string, untick ...string) *browser.Page {
	w.t.Helper()
	page := w.atProvider(b, link, "alice")
	form := page.Form()
	for _, scope := range untick {
		form = form.Untick("scope", scope)
	}
	page, err := b.Submit(w.t.Context(), form.Click("Allow"))
	if err != nil {
		w.t.Fatalf("the user's browser: %v\n%v", err, b.Steps())
	}
	return page
}

// linkOf returns the link that a browser opened first.
func (w *world) linkOf(b *browser.Browser) string { return b.Steps()[0].URL }

var athCode = regexp.MustCompile(`ath_code_[\w-]+`)

// newBrowser returns a browser that stops before it leaves for an agent's own
// redirect URI.
func (w *world) newBrowser() *browser.Browser {
	b := browser.New()
	b.StopAt(func(u *url.URL) bool {
		return u.Host == "agent.example" || strings.HasPrefix(u.Host, "127.0.0.1") && u.Path == "/cb"
	})
	w.t.Cleanup(b.Close)
	return b
}

// token takes a registered actor to a token.
func (a *actor) token(provider string, scopes ...string) reply {
	a.w.t.Helper()
	link, session := a.authorize(provider, scopes)
	page := a.w.consent(a.w.newBrowser(), link)
	code := athCode.FindString(page.Body)
	if code == "" {
		a.w.t.Fatalf("no code on the last page: %d %s", page.Status, page.Text)
	}
	return a.w.post("/ath/token", a.exchange(session, code))
}

// onlyEvent returns the last audit event with this decision_id.
func (w *world) event(decisionID string) map[string]any {
	var found map[string]any
	for line := range strings.Lines(w.log()) {
		var e map[string]any
		if json.Unmarshal([]byte(line), &e) == nil && e["event"] != nil && e["decision_id"] == decisionID {
			found = e
		}
	}
	return found
}

package vault_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/locked"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

const agentID = "https://agents.example/travel.json"

// An endpoint is a provider's token endpoint. Its refresh tokens are good for one
// use, and a second use ends the whole line, as at the strictest servers.
type endpoint struct {
	*httptest.Server

	mu      sync.Mutex
	lines   map[string]*line // by refresh token, spent ones too
	calls   int
	running int
	most    int // calls at the same time
	life    time.Duration
	answer  func(n int, w http.ResponseWriter, r *http.Request) bool // true: it has answered
	fields  map[string]any                                           // of replies, beside the usual ones
	lenient bool                                                     // refresh tokens stay good
}

// A line is one grant of one user.
type line struct {
	current              string
	dead                 bool
	calls, running, most int
	struck               bool  // by a fault, while a call was under way
	reader               *peer // who had an answer while the line was alive
}

func newEndpoint(t testing.TB) *endpoint {
	e := &endpoint{lines: map[string]*line{}, life: time.Hour}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

// grant begins a line.
func (e *endpoint) grant() (refresh string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := &line{current: "refresh-" + rand.Text()}
	e.lines[l.current] = l
	return l.current
}

// of is what became of a grant: how often it was asked for, and how often at the
// same time.
func (e *endpoint) of(refresh string) line {
	e.mu.Lock()
	defer e.mu.Unlock()
	return *e.lines[refresh]
}

// struck notes that something happened to who calls.
func (e *endpoint) struck(refresh string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines[refresh].struck = true
}

// read notes that the answer has reached an athd.
func (e *endpoint) read(refresh string, by *peer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.lines[refresh]; !l.dead {
		l.reader = by
	}
}

// Calls is how often the endpoint was asked.
func (e *endpoint) Calls() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls
}

// AtOnce is the most calls that there were at the same time.
func (e *endpoint) AtOnce() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.most
}

// Answers sets how the endpoint answers; nil: as it should.
func (e *endpoint) Answers(f func(n int, w http.ResponseWriter, r *http.Request) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = f
}

// Alive reports whether a refresh token is the newest of a line that lives.
func (e *endpoint) Alive(refresh string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.lines[refresh]
	return l != nil && !l.dead && (l.current == refresh || e.lenient)
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.calls++
	n, answer := e.calls, e.answer
	e.running++
	e.most = max(e.most, e.running)
	l := e.lines[r.PostFormValue("refresh_token")]
	if l == nil {
		l = &line{}
	}
	l.calls++
	l.running++
	l.most = max(l.most, l.running)
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.running--
		l.running--
		e.mu.Unlock()
	}()
	if answer != nil && answer(n, w, r) {
		return
	}
	e.Refresh(w, r)
}

// Refresh is the right answer.
func (e *endpoint) Refresh(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	used := r.PostFormValue("refresh_token")
	l := e.lines[used]
	if l == nil || l.dead || l.current != used && !e.lenient {
		if l != nil {
			l.dead = true
		}
		w.WriteHeader(http.StatusBadRequest)
		w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	reply := map[string]any{"access_token": "access-" + rand.Text(), "token_type": "Bearer", "expires_in": e.life.Seconds()}
	if !e.lenient {
		l.current = "refresh-" + rand.Text()
		e.lines[l.current] = l
		reply["refresh_token"] = l.current
	}
	maps.Copy(reply, e.fields)
	json.NewEncoder(w).Encode(reply)
}

// A world is some athd on one Redis, as far as decisions go, with one provider.
type world struct {
	t        testing.TB
	endpoint *endpoint
	keys     *tokenstore.Keyset
	config   tokenstore.Config
	replicas []*replica
	provider *provider.Provider
	list     *provider.Providers
	vault    func(*vault.Config) // changes it
	agent    tokenstore.Agent
}

type replica struct {
	store   *tokenstore.Store
	vault   *vault.Vault
	decider *authz.Decider
	events  *locked.Buffer
	ahead   atomic.Int64 // of its clock, in nanoseconds
}

func (r *replica) now() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }

// newWorld starts n athd. more are fields of the provider.
func newWorld(t testing.TB, n int, config tokenstore.Config, more map[string]any, change func(*vault.Config)) *world {
	t.Helper()
	return newWorldWith(t, newEndpoint(t), n, config, more, change)
}

func newWorldWith(t testing.TB, e *endpoint, n int, config tokenstore.Config, more map[string]any, change func(*vault.Config)) *world {
	t.Helper()
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, endpoint: e, keys: keys, config: config, vault: change}
	fields := map[string]any{
		"display_name": "Shop", "available_scopes": []string{"products:read", "orders:write"},
		"authorize_endpoint": w.endpoint.URL + "/authorize", "token_endpoint": w.endpoint.URL + "/token",
		"api_base_url": "https://api.shop.example", "client_id": "c", "client_secret": "client-secret-of-athd",
		"scope_rules": []map[string]any{
			{"scope": "products:read", "methods": []string{"GET"}, "paths": []string{"/products/**"}},
			{"scope": "orders:write", "methods": []string{"POST"}, "paths": []string{"/orders"}},
		},
	}
	maps.Copy(fields, more)
	text, err := json.Marshal(map[string]any{"shop": fields})
	if err != nil {
		t.Fatal(err)
	}
	list, faults := provider.Parse("providers.json", text, provider.Options{PublicURL: "https://gw.example", AllowHTTP: true})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	set, err := provider.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	w.provider, w.list = list[0], provider.NewProviders(set)
	id, err := ath.ParseAgentID(agentID, false)
	if err != nil {
		t.Fatal(err)
	}
	w.agent = tokenstore.Agent{
		ID: agentID, ClientID: ath.NewClientID(id).String(), ApprovalExpires: time.Now().Add(time.Hour),
		Approvals: []tokenstore.Approval{{Provider: "shop", Approved: ath.Scopes{"products:read", "orders:write"}}},
	}
	for range n {
		w.start()
	}
	if err := w.replicas[0].store.CreateAgent(t.Context(), w.agent); err != nil {
		t.Fatal(err)
	}
	return w
}

// start starts one more athd.
func (w *world) start() *replica {
	w.t.Helper()
	r := &replica{events: &locked.Buffer{}}
	c := w.config
	c.Keyset = w.keys
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second // the machine may be busy
	}
	var err error
	if r.store, err = tokenstore.Open(c); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { r.store.Close() })
	logger := slog.New(slog.NewTextHandler(r.events, &slog.HandlerOptions{Level: slog.LevelDebug}))
	trail := audit.New(audit.Config{Writer: r.events, JSON: true})
	vc := vault.Config{
		Store: r.store, OAuth: provider.NewClient(provider.ClientConfig{AllowHTTP: true}), Providers: w.list, Audit: trail, Logger: logger,
		Now:   r.now,
		Lease: 400 * time.Millisecond, Call: 3 * time.Second, Grace: 300 * time.Millisecond, Settle: 300 * time.Millisecond,
	}
	if w.vault != nil {
		w.vault(&vc)
	}
	if r.vault, err = vault.New(vc); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r.vault.Close(ctx)
	})
	if r.decider, err = authz.New(authz.Config{
		Store: r.store, Renewer: r.vault, Providers: w.list, Audit: trail, Logger: logger, Now: r.now,
	}); err != nil {
		w.t.Fatal(err)
	}
	w.replicas = append(w.replicas, r)
	return r
}

// A call is what an agent needs for its calls, with one user's grant.
type call struct {
	token ath.Token
	ref   tokenstore.ConnectionRef
	first tokenstore.Connection
}

// connect stores a user's grant whose access token ends after left of an hour, or
// less than a minute.
func (w *world) connect(left time.Duration, change ...func(*tokenstore.Connection)) call {
	w.t.Helper()
	token := ath.NewToken(ath.NewTag())
	now := time.Now()
	c := tokenstore.Connection{
		Agent: agentID, User: "user-" + rand.Text(), Provider: "shop", Access: ath.NewSecret("access-first-" + rand.Text()),
		Refresh: ath.NewSecret(w.endpoint.grant()), Expires: now.Add(left), Created: now.Add(left - time.Hour),
		Scopes: ath.Scopes{"products:read", "orders:write"}, Destination: w.provider.Destination(),
	}
	for _, f := range change {
		f(&c)
	}
	ctx := context.Background()
	s := w.replicas[0].store
	if err := s.PutConnection(ctx, token.Tag(), c, now.Add(time.Hour)); err != nil {
		w.t.Fatal(err)
	}
	if err := s.PutGrant(ctx, token, tokenstore.Grant{
		Agent: agentID, ClientID: w.agent.ClientID, User: c.User, Provider: "shop", Scopes: ath.Scopes{"products:read", "orders:write"},
		Connection: token.Tag(), Issued: now, Expires: now.Add(time.Hour),
	}); err != nil {
		w.t.Fatal(err)
	}
	return call{token, tokenstore.ConnectionRef{Tag: token.Tag(), Agent: agentID, User: c.User, Provider: "shop"}, c}
}

// ask makes one decision.
func (r *replica) ask(c call) authz.Decision {
	return r.askWithin(time.Second, c) // as Envoy does
}

func (r *replica) askWithin(limit time.Duration, c call) authz.Decision {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return r.decider.Decide(ctx, authz.Request{
		Method: "GET", Path: "/ath/proxy/shop/products/7", Provider: "shop", Mount: "/ath/proxy/shop/",
		Authorization: []string{"Bearer " + c.token.Secret().Reveal()}, AgentID: []string{agentID},
	})
}

// stored reads the connection.
func (w *world) stored(c call) tokenstore.Connection {
	w.t.Helper()
	state, err := w.replicas[0].store.RefreshState(context.Background(), c.ref)
	if err != nil {
		w.t.Fatal(err)
	}
	return state.Connection
}

// renewed reports whether the connection has a newer access token than at first,
// and its refresh token is good.
func (w *world) renewed(c call) bool {
	now := w.stored(c)
	return !now.Access.Equal(c.first.Access.Reveal()) && w.endpoint.Alive(now.Refresh.Reveal())
}

// until waits for something that an idle machine has within a time. A busy one gets
// more: what never comes does not come then either.
func until(t testing.TB, what string, within time.Duration, done func() bool) {
	t.Helper()
	const busy = 30 * time.Second
	for end := time.Now().Add(within + busy); !done(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within+busy, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// steady wants a condition to hold for a while.
func steady(t testing.TB, what string, during time.Duration, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(during); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if !holds() {
			t.Fatalf("no longer: %s", what)
		}
	}
}

// tally counts the reasons of decisions.
type tally struct {
	mu      sync.Mutex
	reasons map[authz.Reason]int
	slowest time.Duration
}

func (y *tally) add(d authz.Decision, took time.Duration) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.reasons == nil {
		y.reasons = map[authz.Reason]int{}
	}
	y.reasons[d.Reason()]++
	y.slowest = max(y.slowest, took)
}

func (y *tally) String() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	return fmt.Sprint(y.reasons, ", slowest ", y.slowest.Round(time.Millisecond))
}

// but counts the decisions with another reason.
func (y *tally) but(reason authz.Reason) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	others := 0
	for of, n := range y.reasons {
		if of != reason {
			others += n
		}
	}
	return others
}

// storm asks each athd n times at once and returns the tally.
func (w *world) storm(n int, c call) *tally { return w.stormWithin(time.Second, n, c) }

func (w *world) stormWithin(limit time.Duration, n int, c call) *tally {
	y := &tally{}
	var all sync.WaitGroup
	for _, r := range w.replicas {
		for range n {
			all.Go(func() {
				began := time.Now()
				y.add(r.askWithin(limit, c), time.Since(began))
			})
		}
	}
	all.Wait()
	return y
}

package revocation

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/locked"
	"github.com/athd/athd/tokenstore"
)

// A world is a store, workers on it, and a provider, on one clock.
type world struct {
	t       *testing.T
	store   *tokenstore.Store
	policy  *Policy
	workers []*Worker
	events  locked.Buffer

	mu       sync.Mutex
	at       time.Time
	counts   map[string]int
	calls    []string                         // refresh tokens
	answer   func() (provider.Revoked, error) // nil: revoked
	entered  chan struct{}                    // if any, a call has begun
	released chan struct{}                    // and waits for this
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

// RevokeTokens is the provider's.
func (w *world) RevokeTokens(ctx context.Context, p *provider.Provider, refresh, access ath.Secret, each bool) (provider.Revoked, error) {
	w.mu.Lock()
	w.calls = append(w.calls, refresh.Reveal())
	answer := w.answer
	w.mu.Unlock()
	if w.entered != nil {
		w.entered <- struct{}{}
		select {
		case <-w.released:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	if answer == nil {
		return provider.RevokedNow, nil
	}
	return answer()
}

const providersFile = `{
"shop": {"display_name": "Shop", "api_base_url": "https://api.shop.example", "available_scopes": ["read"], "client_id": "c", "client_secret": "s", %s
  "authorize_endpoint": "https://shop.example/authorize", "token_endpoint": "https://shop.example/token", "revocation_endpoint": "https://shop.example/revoke"}}`

func newWorld(t *testing.T, extra string, workers int) *world {
	t.Helper()
	w := &world{t: t, at: time.Now().UTC(), counts: map[string]int{}}
	all, faults := provider.Parse("f", []byte(strings.Replace(providersFile, "%s", extra, 1)), provider.Options{})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	set, err := provider.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	w.policy = &Policy{Providers: provider.NewProviders(set), Logger: logger, Observe: func(_, outcome string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.counts[outcome]++
	}}
	w.store, err = tokenstore.Open(tokenstore.Config{URL: tokenstore.Embedded, Upstream: w.policy, Now: w.now, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	trail := audit.New(audit.Config{Writer: &w.events, JSON: true, Logger: logger})
	t.Cleanup(func() { trail.Close() })
	for range workers {
		worker, err := New(Config{Policy: w.policy, Store: w.store, OAuth: w, Audit: trail, Now: w.now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { worker.Close(context.Background()) })
		w.workers = append(w.workers, worker)
	}
	return w
}

// connect stores a connection of a user, with a token of an agent's.
func (w *world) connect(user, refresh string) ath.Token {
	w.t.Helper()
	token := ath.NewToken(ath.NewTag())
	agent := "https://agents.example/" + refresh
	p := w.policy.Providers.Current().Lookup("shop")
	if user == "" {
		user = string(token.Tag())
	}
	err := w.store.PutConnection(w.t.Context(), token.Tag(), tokenstore.Connection{
		Agent: agent, User: user, Provider: "shop", Access: ath.NewSecret("access-" + refresh), Refresh: ath.NewSecret(refresh),
		Scopes: ath.Scopes{"read"}, Created: w.now(), Destination: p.Destination(),
	}, w.now().Add(48*time.Hour))
	if err == nil {
		err = w.store.PutGrant(w.t.Context(), token, tokenstore.Grant{
			Agent: agent, User: user, Provider: "shop", Scopes: ath.Scopes{"read"}, Connection: token.Tag(), Issued: w.now(), Expires: w.now().Add(48 * time.Hour),
		})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func (w *world) end(token ath.Token) tokenstore.Upstream {
	w.t.Helper()
	end, err := w.store.EndConnection(w.t.Context(), token.Tag(), w.now())
	if err != nil {
		w.t.Fatal(err)
	}
	return end.Upstream
}

// work looks at what is due until there is nothing more.
func (w *world) work() {
	for range 3 {
		for _, worker := range w.workers {
			worker.round()
		}
	}
}

func (w *world) want(counts map[string]int, calls ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !maps.Equal(w.counts, counts) {
		w.t.Errorf("counted %v, want %v", w.counts, counts)
	}
	if strings.Join(w.calls, " ") != strings.Join(calls, " ") {
		w.t.Errorf("calls %v, want %v", w.calls, calls)
	}
}

func (w *world) length() int {
	w.t.Helper()
	q, err := w.store.RevocationQueue(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return q.Length
}

func answers(status int, code string) func() (provider.Revoked, error) {
	return func() (provider.Revoked, error) {
		return "", &provider.ExchangeError{Provider: "shop", Status: status, Code: code, Temporary: status == 0 || status >= 500}
	}
}

// proves: V-5
func TestWhatEndsIsRevokedOnce(t *testing.T) {
	w := newWorld(t, "", 2)
	if got := w.end(w.connect("alice", "r1")); got != tokenstore.UpstreamQueued {
		t.Fatal(got)
	}
	w.work()
	w.want(map[string]int{"revoked": 1}, "r1")
	if w.length() != 0 {
		t.Error("it is queued still")
	}
	if text := w.events.String(); !strings.Contains(text, `"connection_revoked"`) || !strings.Contains(text, `"alice"`) || strings.Contains(text, "r1\"") && strings.Contains(text, "access-r1") {
		t.Errorf("events: %s", text)
	}
}

// proves: V-5
func TestTwoAthdMakeOneCall(t *testing.T) {
	w := newWorld(t, "", 2)
	w.entered, w.released = make(chan struct{}, 8), make(chan struct{})
	w.end(w.connect("alice", "r1"))
	var first sync.WaitGroup
	first.Go(func() { w.workers[0].round() })
	<-w.entered
	w.workers[1].round() // finds that it is taken
	close(w.released)
	first.Wait()
	w.work()
	w.want(map[string]int{"revoked": 1}, "r1")
}

// proves: V-5
func TestTheLastConnectionOfAUserTakesAllWithIt(t *testing.T) {
	w := newWorld(t, "", 1)
	first, second, stranger := w.connect("alice", "r1"), w.connect("alice", "r2"), w.connect("bob", "r3")
	w.end(first)
	w.work()
	w.want(map[string]int{})
	third := w.connect("alice", "r4") // made meanwhile: it counts
	w.end(second)
	w.work()
	w.pass(2 * time.Hour) // it is looked at, and waits on
	w.work()
	w.want(map[string]int{})
	w.end(third)
	w.work()
	w.mu.Lock()
	revoked, calls := w.counts["revoked"], len(w.calls)
	w.mu.Unlock()
	if revoked != 3 || calls != 3 {
		t.Errorf("revoked are %d by %d calls, want 3", revoked, calls)
	}
	if w.end(stranger); w.length() != 1 {
		t.Error("bob's is not queued alone")
	}
}

// proves: V-5
func TestTwoEndsAtOnceDoNotWaitForEachOther(t *testing.T) {
	for range 20 {
		w := newWorld(t, "", 2)
		first, second := w.connect("alice", "r1"), w.connect("alice", "r2")
		var both sync.WaitGroup
		both.Go(func() { w.end(first); w.workers[0].round() })
		both.Go(func() { w.end(second); w.workers[1].round() })
		both.Wait()
		w.work()
		w.mu.Lock()
		revoked := w.counts["revoked"]
		w.mu.Unlock()
		if revoked != 2 || w.length() != 0 {
			t.Fatalf("%d are revoked, %d queued", revoked, w.length())
		}
	}
}

// proves: V-5
func TestEachNeverAndUsersThatAreUnknown(t *testing.T) {
	for _, test := range []struct {
		extra, user string
		want        tokenstore.Upstream
		counts      map[string]int
		calls       []string
	}{
		{`"revocation": "each",`, "alice", tokenstore.UpstreamQueued, map[string]int{"revoked": 1}, []string{"r1"}},
		{`"revocation": "each",`, "", tokenstore.UpstreamQueued, map[string]int{"revoked": 1}, []string{"r1"}},
		{`"revocation": "never",`, "alice", tokenstore.UpstreamNever, map[string]int{"never": 1}, nil},
		{"", "", tokenstore.UpstreamUserUnknown, map[string]int{"user_unknown": 1}, nil},
	} {
		w := newWorld(t, test.extra, 1)
		one := w.connect(test.user, "r1")
		w.connect(test.user, "r2") // lives
		if got := w.end(one); got != test.want {
			t.Errorf("%s %q: %q", test.extra, test.user, got)
		}
		w.work()
		w.want(test.counts, test.calls...)
	}
}

// proves: V-5
func TestFailuresAreTriedAgainForADay(t *testing.T) {
	for name, answer := range map[string]func() (provider.Revoked, error){
		"the client is wrong": answers(401, "invalid_client"), "the server is away": answers(503, ""), "no answer": answers(0, ""),
		"not of a provider": func() (provider.Revoked, error) { return "", errors.New("odd") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "", 1)
			w.answer = answer
			w.end(w.connect("alice", "r1"))
			w.work()
			w.want(map[string]int{"failed": 1}, "r1")
			for range 30 * 60 { // minutes
				w.pass(time.Minute)
				w.workers[0].round()
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if n := len(w.calls); n < 25 || n > 45 || w.counts["given_up"] != 1 {
				t.Errorf("%d calls in a day, counted %v", n, w.counts)
			}
			if text := w.events.String(); strings.Count(text, `"revocation_failed"`) != 1 || !strings.Contains(text, "given_up") {
				t.Errorf("events: %s", text)
			}
		})
	}
	t.Run("until it succeeds", func(t *testing.T) {
		w := newWorld(t, "", 1)
		w.answer = answers(500, "")
		w.end(w.connect("alice", "r1"))
		w.work()
		w.mu.Lock()
		w.answer = nil
		w.mu.Unlock()
		w.pass(time.Minute)
		w.work()
		w.want(map[string]int{"failed": 1, "revoked": 1}, "r1", "r1")
	})
}

// proves: V-5
func TestAnAthdThatDiesInACallLosesNothing(t *testing.T) {
	w := newWorld(t, "", 2)
	w.end(w.connect("alice", "r1"))
	entries, err := w.store.DueRevocations(t.Context(), 1)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	held, err := w.store.Revocation(t.Context(), entries[0].Tag)
	if err == nil {
		_, err = w.store.TakeRevocation(t.Context(), held) // and is never heard of again
	}
	if err != nil {
		t.Fatal(err)
	}
	w.work()
	w.want(map[string]int{})
	w.pass(61 * time.Second)
	w.work()
	w.want(map[string]int{"revoked": 1}, "r1")
}

// proves: V-5, O-2
func TestATokenIsNotSentToAnotherServer(t *testing.T) {
	w := newWorld(t, "", 1)
	w.end(w.connect("alice", "r1"))
	all, _ := provider.Parse("f", []byte(strings.Replace(strings.Replace(providersFile, "%s", "", 1), "shop.example/token", "evil.example/token", 1)), provider.Options{})
	set, err := provider.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	w.policy.Providers = provider.NewProviders(set)
	w.work()
	w.want(map[string]int{"moved": 1})
}

// proves: V-5, O-2
func TestATokenIsNotSentToAnotherRevocationEndpoint(t *testing.T) {
	for name, c := range map[string]struct {
		bound   func(*provider.Provider) string
		revoked bool
	}{
		"the one that the user agreed to":      {(*provider.Provider).Bound, true},
		"of a connection that does not say":    {func(*provider.Provider) string { return "" }, true},
		"another one":                          {func(*provider.Provider) string { return "u rw0000000000000000000000" }, false},
		"another userinfo endpoint":            {func(*provider.Provider) string { return "uw0000000000000000000000 r" }, true},
		"of an athd that knows more than this": {func(*provider.Provider) string { return "another place" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "", 1)
			p := w.policy.Providers.Current().Lookup("shop")
			_, err := w.store.HandRevocation(t.Context(), ath.NewTag(), &tokenstore.Connection{
				Agent: "https://agents.example/a", User: "alice", Provider: "shop", Access: ath.NewSecret("a"), Refresh: ath.NewSecret("r1"),
				Destination: p.Destination(), Bound: c.bound(p),
			})
			if err != nil {
				t.Fatal(err)
			}
			w.work()
			if c.revoked {
				w.want(map[string]int{"revoked": 1}, "r1")
			} else {
				w.want(map[string]int{"moved": 1})
			}
		})
	}
}

func TestWhatWaitsIsDroppedAfterThirtyDays(t *testing.T) {
	w := newWorld(t, "", 1)
	w.end(w.connect("alice", "r1"))
	live := w.connect("alice", "r2")
	w.work()
	for range 29 {
		w.pass(24 * time.Hour)
		live = w.connect("alice", "r2")
		w.work()
	}
	w.want(map[string]int{})
	w.pass(25 * time.Hour)
	w.connect("alice", "r3")
	w.work()
	w.want(map[string]int{"dropped": 1})
	_ = live
}

func TestClosingWaitsForACallUnderWay(t *testing.T) {
	w := newWorld(t, "", 1)
	w.entered, w.released = make(chan struct{}, 8), make(chan struct{})
	w.workers[0].Start()
	w.end(w.connect("alice", "r1"))
	<-w.entered // at once: nobody waits for the poll
	closed := make(chan struct{})
	go func() { w.workers[0].Close(context.Background()); close(closed) }()
	close(w.released)
	<-closed
	w.want(map[string]int{"revoked": 1}, "r1")
}

package vault_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// keepAlive runs what looks for refresh tokens that end, at every athd.
func (w *world) keepAlive(some ...*replica) {
	for _, r := range some {
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { r.vault.KeepAlive(ctx, w.list); close(ended) }()
		w.t.Cleanup(func() { stop(); <-ended })
	}
}

func often(c *vault.Config) { c.Every = 100 * time.Millisecond }

// endsIn is a refresh token that lives so long from now, with an access token of
// which two thirds less is left.
func endsIn(d time.Duration) func(*tokenstore.Connection) {
	return func(c *tokenstore.Connection) {
		now := time.Now()
		c.Created, c.Expires, c.RefreshStatus.RefreshExpires = now, now.Add(d/3), now.Add(d)
	}
}

// A server ends refresh tokens that nobody uses, as Keycloak does after half an
// hour. An agent that sleeps for longer goes on afterwards.
func TestARefreshTokenIsUsedBeforeItEndsUnused(t *testing.T) {
	w := newWorld(t, 3, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, often)
	w.endpoint.life = time.Second
	w.endpoint.fields = map[string]any{"refresh_expires_in": 3}
	w.keepAlive(w.replicas...)
	c := w.connect(0, endsIn(3*time.Second))
	until(t, "it is used twice, by nobody's call", 15*time.Second, func() bool { return w.endpoint.Calls() >= 2 })
	if l := w.endpoint.of(c.first.Refresh.Reveal()); l.dead || l.most != 1 {
		t.Errorf("the provider's grant is dead: %v; %d calls at the same time", l.dead, l.most)
	}
	if got := w.stored(c).RefreshStatus; time.Until(got.RefreshExpires) <= 0 {
		t.Errorf("the refresh token ended at %v", got.RefreshExpires)
	}
	if d := w.replicas[1].ask(c); !d.Allowed() {
		t.Errorf("the agent is back: %s", d.Reason())
	}
}

// What is due is known to an athd that has just started, and had nothing to do
// with the connection.
func TestARefreshTokenIsUsedAfterARestart(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, often)
	c := w.connect(0, endsIn(2*time.Second))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	w.replicas[0].vault.Close(ctx)
	w.keepAlive(w.start())
	until(t, "the new one refreshes it", 10*time.Second, func() bool { return w.renewed(c) })
}

func TestNobodysRefreshTokensAreLeftAlone(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, often)
	r := w.replicas[0]
	long := w.connect(time.Hour, func(c *tokenstore.Connection) { endsIn(time.Second)(c); c.Expires = time.Now().Add(2 * time.Hour) })
	never := w.connect(-time.Second)
	refused := w.connect(-time.Second, endsIn(time.Second), func(c *tokenstore.Connection) { c.RefreshStatus.Refused = time.Now() })
	elsewhere := w.connect(-time.Second, endsIn(time.Second), func(c *tokenstore.Connection) { c.Destination = "elsewhere" })
	place := w.connect(-time.Second, endsIn(time.Second), func(c *tokenstore.Connection) { c.Bound = "another place" })
	none := tokenstore.Connection{
		Agent: agentID, User: "no agent's", Provider: "shop", Access: ath.NewSecret("access-none"), Refresh: ath.NewSecret(w.endpoint.grant()),
		Destination: w.provider.Destination(),
	}
	endsIn(time.Second)(&none)
	if err := r.store.PutConnection(t.Context(), ath.NewTag(), none, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	w.keepAlive(r)
	live := w.connect(0, endsIn(3*time.Second)) // due after all of them
	until(t, "the one that an agent has", 10*time.Second, func() bool { return w.renewed(live) })
	for name, c := range map[string]tokenstore.Connection{
		"the access token outlives the agent's": long.first, "0 is never": never.first, "it was refused": refused.first,
		"the provider is another one": elsewhere.first, "so is its userinfo endpoint": place.first, "no agent has a token for it": none,
	} {
		if l := w.endpoint.of(c.Refresh.Reveal()); l.calls != 0 {
			t.Errorf("%s: %d calls", name, l.calls)
		}
	}
}

// A lookingStore notes what was looked at.
type lookingStore struct {
	vault.Store
	mu    sync.Mutex
	seen  map[ath.Tag]bool
	first int // how many different ones at the first look
}

func (s *lookingStore) KeepDue(ctx context.Context, in tokenstore.KeepIndex, by time.Time, offset, limit int) ([]ath.Tag, error) {
	tags, err := s.Store.KeepDue(ctx, in, by, offset, limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tag := range tags {
		s.seen[tag] = true
	}
	if s.first == 0 && len(tags) < limit {
		s.first = len(s.seen)
	}
	return tags, err
}

func (s *lookingStore) firstLook() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// What ended, in whatever number, does not push back what is due behind it.
func TestOneLookReachesAllThatAreDue(t *testing.T) {
	store := &lookingStore{seen: map[ath.Tag]bool{}}
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, func(c *vault.Config) {
		often(c)
		store.Store, c.Store = c.Store, store
	})
	const many = 350
	now := time.Now()
	for range many {
		gone := tokenstore.Connection{
			Agent: agentID, User: "left", Provider: "shop", Access: ath.NewSecret("a"), Refresh: ath.NewSecret("r"), Destination: w.provider.Destination(),
			Created: now.Add(-time.Hour), Expires: now, RefreshStatus: tokenstore.RefreshStatus{RefreshExpires: now.Add(time.Minute)},
		}
		if err := w.replicas[0].store.PutConnection(t.Context(), ath.NewTag(), gone, now); err != nil {
			t.Fatal(err)
		}
	}
	w.keepAlive(w.replicas[0])
	until(t, "a look", 10*time.Second, func() bool { return store.firstLook() > 0 })
	if n := store.firstLook(); n != many {
		t.Errorf("the first look saw %d of %d", n, many)
	}
}

// A refresh token may live for months, and its connection for an hour: who
// authorizes again and again does not fill Redis with what has ended.
func TestWhatHasEndedIsForgottenLongBeforeItsRefreshTokenEnds(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, often)
	r := w.replicas[0]
	halfAYear := func(c *tokenstore.Connection) { c.RefreshStatus.RefreshExpires = time.Now().Add(180 * 24 * time.Hour) }
	gone := tokenstore.Connection{
		Agent: agentID, User: "left", Provider: "shop", Access: ath.NewSecret("a"), Refresh: ath.NewSecret("r"), Destination: w.provider.Destination(),
		Created: time.Now(), Expires: time.Now().Add(8 * time.Hour),
	}
	halfAYear(&gone)
	if err := r.store.PutConnection(t.Context(), ath.NewTag(), gone, time.Now()); err != nil {
		t.Fatal(err)
	}
	live := w.connect(8*time.Hour, halfAYear)
	inAYear := func() []ath.Tag {
		tags, err := r.store.KeepDue(t.Context(), tokenstore.KeepEnding, time.Now().Add(365*24*time.Hour), 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		return tags
	}
	if n := len(inAYear()); n != 2 {
		t.Fatalf("%d are kept alive", n)
	}
	r.later(61 * time.Minute)
	w.keepAlive(r)
	until(t, "the one that lives is left", 10*time.Second, func() bool { tags := inAYear(); return len(tags) == 1 && tags[0] == live.ref.Tag })
	if n := w.endpoint.Calls(); n != 0 {
		t.Errorf("%d calls, five months ahead", n)
	}
}

// A server that gives no new refresh token says nothing of the old one's end.
func TestAKeptRefreshTokenKeepsItsEnd(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	w.endpoint.lenient = true
	end := time.Now().Add(30 * time.Minute).UTC().Truncate(time.Second)
	c := w.connect(-time.Second, func(c *tokenstore.Connection) { c.RefreshStatus.RefreshExpires = end })
	until(t, "it is refreshed", 10*time.Second, func() bool { d := w.replicas[0].ask(c); return d.Allowed() })
	if got := w.stored(c).RefreshStatus.RefreshExpires; !got.Equal(end) {
		t.Errorf("%v, was %v", got, end)
	}
}

// A refresh token that has ended is tried, since the provider knows best; while it
// gives no answer, there is nothing to wait for.
//
// proves: P-6
func TestAnEndedRefreshTokenIsNoReasonToWait(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	r := w.replicas[0]
	ended := func(c *tokenstore.Connection) {
		c.Created, c.RefreshStatus.RefreshExpires = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	}
	w.endpoint.Answers(says(503, `{"error":"temporarily_unavailable"}`))
	alive, over := w.connect(-time.Second), w.connect(-time.Second, ended)
	if d := r.ask(alive); d.Reason() != authz.ProviderUnavailable {
		t.Errorf("one without an end: %s", d.Reason())
	}
	for range 3 {
		if d := r.ask(over); d.Reason() != authz.ReauthorizationRequired {
			t.Errorf("one that has ended: %s", d.Reason())
		}
	}
	w.endpoint.Answers(nil)
	late := w.connect(-time.Second, ended)
	until(t, "the provider takes it after all", 10*time.Second, func() bool { d := r.ask(late); return d.Allowed() })
}

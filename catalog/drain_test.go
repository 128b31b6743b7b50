package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/catalog"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/revocation"
	"github.com/athd/athd/tokenstore"
)

// revoker is an OAuth server that is asked to revoke.
type revoker struct {
	mu      sync.Mutex
	at      []string // client and endpoint, of each call
	refuses bool
}

func (r *revoker) RevokeTokens(_ context.Context, p *provider.Provider, refresh, _ ath.Secret, _ bool) (provider.Revoked, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuses || refresh.Reveal() != "rt" {
		return "", &provider.ExchangeError{Provider: p.ID, Status: 400} // it answers: nobody pauses
	}
	r.at = append(r.at, p.ClientID+" "+p.ClientSecret.Reveal()+" "+p.RevocationURL.String())
	return provider.RevokedNow, nil
}

func (r *revoker) asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.at)
}

func (r *replica) revokes(t testing.TB, at *revoker) {
	t.Helper()
	worker, err := revocation.New(revocation.Config{Policy: r.policy, Store: r.store, OAuth: at, Audit: r.trail})
	if err != nil {
		t.Fatal(err)
	}
	worker.Start()
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		worker.Close(ctx)
	})
}

// hurry has revocations that were put off tried again now. It is asked for again and
// again: one that is being tried is put off for a minute afterwards.
func (r *replica) hurry(t testing.TB, tags ...ath.Tag) {
	t.Helper()
	for _, tag := range tags {
		if err := r.store.PostponeRevocation(t.Context(), tag, time.Now()); err != nil && !errors.Is(err, tokenstore.ErrChanged) { // it is out of the queue
			t.Fatal(err)
		}
	}
}

// proves: O-2
func TestConnectionsOfAProviderThatIsRemovedEndAndAreRevoked(t *testing.T) {
	w := newWorld(t)
	one, two := w.start(t), w.start(t)
	server := &revoker{refuses: true}
	two.revokes(t, server)
	one.add(t, "shop", config("c", ""))
	until(t, "both have it", func() bool { return two.get("shop") != nil })
	var tags []ath.Tag
	for range 3 {
		tags = append(tags, one.connect(t, one.get("shop")))
	}
	kept := one.connect(t, one.get("filed"))

	if _, err := one.Remove(t.Context(), "shop", "ops"); err != nil {
		t.Fatal(err)
	}
	until(t, "its connections end", func() bool {
		return !slices.ContainsFunc(tags, func(tag ath.Tag) bool { return one.connected(t, tag) })
	})
	until(t, "how many are left is told on both", func() bool {
		a, drains := one.Draining("shop")
		b, also := two.Draining("shop")
		return drains && also && a == 3 && b == 3
	})
	if _, err := two.Add(t.Context(), "shop", config("c", ""), "ops"); !errors.Is(err, catalog.ErrDraining) {
		t.Errorf("one that drains is added: %v", err)
	}
	if _, err := two.Read(t.Context(), "shop"); !errors.Is(err, catalog.ErrDraining) {
		t.Errorf("one that drains is changed: %v", err)
	}
	if _, err := two.Remove(t.Context(), "shop", "ops"); err != nil {
		t.Errorf("removed twice: %v", err)
	}
	if !one.connected(t, kept) {
		t.Error("another provider's connection ended")
	}
	server.mu.Lock()
	server.refuses = false
	server.mu.Unlock()
	until(t, "they are revoked", func() bool {
		two.hurry(t, tags...)
		return len(server.asked()) == 3
	})
	if got := server.asked()[0]; got != "c s3cret https://login.example/revoke" {
		t.Error(got)
	}
	until(t, "the record goes", func() bool { _, a := one.Get("shop"); _, b := two.Get("shop"); return !a && !b })
}

// proves: O-2
func TestConnectionsOfBeforeAChangeAreRevokedWhereTheyCameFrom(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	server := &revoker{}
	r.revokes(t, server)
	r.add(t, "shop", config("c", ""))
	before := r.connect(t, r.get("shop"))
	r.change(t, "shop", config("c", `, "categories": ["x"]`))
	if e, _ := r.Get("shop"); e.Ending || !r.connected(t, before) {
		t.Fatal("a change that leads nobody elsewhere ends connections")
	}
	r.change(t, "shop", config("other", ""))
	if e, _ := r.Get("shop"); !e.Ending {
		t.Fatal("it is not said that connections of before are ended")
	}
	after := r.connect(t, r.get("shop"))
	until(t, "the connection of before ends", func() bool { return !r.connected(t, before) })
	until(t, "it is revoked", func() bool { return len(server.asked()) == 1 })
	if got := server.asked()[0]; got != "c s3cret https://login.example/revoke" {
		t.Errorf("with %s", got)
	}
	until(t, "what was before is forgotten", func() bool { e, _ := r.Get("shop"); return !e.Ending })
	if !r.connected(t, after) {
		t.Error("a connection of now ended")
	}
}

func TestAnotherAthdGoesOnWithTheEndOfAProvider(t *testing.T) {
	w := newWorld(t)
	dead := w.make(t) // it writes, and does nothing after
	if err := dead.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	dead.add(t, "shop", config("c", ""))
	tag := dead.connect(t, dead.get("shop"))
	if _, err := dead.Remove(t.Context(), "shop", "ops"); err != nil {
		t.Fatal(err)
	}
	// It had the turn when it died.
	if e, _ := dead.Get("shop"); e.Changed.IsZero() {
		t.Fatal("nobody knows when")
	}
	other := w.start(t)
	other.revokes(t, &revoker{})
	until(t, "the connection ends", func() bool { return !other.connected(t, tag) })
	until(t, "the record goes", func() bool { _, there := other.Get("shop"); return !there })
}

// A walk over all that is stored holds Redis up for everybody: who removes a thousand
// providers has one of them.
//
// proves: O-2
func TestProvidersThatAreRemovedTogetherShareAWalk(t *testing.T) {
	const n = 20
	w := many(t, 0)
	dead := w.make(t) // it writes, and does nothing after
	if err := dead.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint("shop", i)
		dead.add(t, ids[i], config("c", ""))
	}
	tags := []ath.Tag{dead.connect(t, dead.get(ids[0])), dead.connect(t, dead.get(ids[n-1]))}
	kept := dead.connect(t, dead.get("filed"))
	for _, id := range ids {
		if _, err := dead.Remove(t.Context(), id, "ops"); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := w.spent(t, "scan")
	r := w.start(t)
	r.revokes(t, &revoker{})
	until(t, "all that had no connection go", func() bool { return r.Len() <= len(tags) })
	if after, _ := w.spent(t, "scan"); after-before > n/2 {
		t.Errorf("%d steps of walks for %d providers", after-before, n)
	}
	until(t, "the others go, too", func() bool { return r.Len() == 0 })
	for _, tag := range tags {
		if r.connected(t, tag) {
			t.Error("a connection goes on")
		}
	}
	if !r.connected(t, kept) {
		t.Error("a connection of another provider ended")
	}
}

// Whoever removes a provider while this athd rests from a walk need do no more: its
// connections end, though nothing is written after that.
//
// proves: O-2
func TestAProviderThatIsRemovedBetweenTwoWalksHasItsTurn(t *testing.T) {
	const n = 60 // they end at a pace, so that the rest is long
	w := newWorld(t)
	r := w.start(t)
	r.add(t, "first", config("c", ""))
	r.add(t, "second", config("c", ""))
	for range n {
		r.connect(t, r.get("first"))
	}
	tag := r.connect(t, r.get("second"))
	if _, err := r.Remove(t.Context(), "first", "ops"); err != nil {
		t.Fatal(err)
	}
	until(t, "the walk is over", func() bool { left, _ := r.Draining("first"); return left == n }) // nobody revokes here
	if _, err := r.Remove(t.Context(), "second", "ops"); err != nil {
		t.Fatal(err)
	}
	until(t, "its connection ends", func() bool { return !r.connected(t, tag) })
}

// Who moves a provider to a file removes it first: what is still to be revoked then
// ends nothing of the file's.
//
// proves: O-2
func TestTheEndOfAProviderEndsNothingOfAFileThatHasItsName(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	server := &revoker{refuses: true}
	r.revokes(t, server)
	r.add(t, "shop", config("c", ""))
	old := r.connect(t, r.get("shop"))
	if _, err := r.Remove(t.Context(), "shop", "ops"); err != nil {
		t.Fatal(err)
	}
	until(t, "its connection ends", func() bool { return !r.connected(t, old) })
	if err := r.UseFiles(t.Context(), set(t, `{"shop": `+fields("c", "")+`}`)); err != nil {
		t.Fatal(err)
	}
	kept := r.connect(t, r.get("shop"))
	server.mu.Lock()
	server.refuses = false
	server.mu.Unlock()
	until(t, "nothing is left of it", func() bool {
		r.hurry(t, old)
		_, there := r.Get("shop")
		return !there
	})
	if !r.connected(t, kept) {
		t.Error("a connection of the file's provider ended")
	}
}

// What vanished leaves its other names to whoever has them now.
//
// proves: O-2
func TestTheEndOfWhatVanishedEndsNothingOfWhoHasItsOtherName(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	named := func(id string, aliases ...string) *provider.Set {
		t.Helper()
		p := *set(t, `{"`+id+`": `+fields("c", "")+`}`).Get(id)
		p.Aliases = aliases
		s, err := provider.NewSet(&p)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	use := func(s *provider.Set) {
		t.Helper()
		if err := r.UseFiles(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	use(named("shop", "store"))
	old := r.connect(t, r.get("shop"))
	use(named("store"))
	kept := r.connect(t, r.get("store"))
	if _, err := r.Remove(t.Context(), "shop", "ops"); err != nil {
		t.Fatal(err)
	}
	until(t, "its connection ends", func() bool { return !r.connected(t, old) })
	r.revokes(t, &revoker{})
	until(t, "nothing is left of it", func() bool { _, known := r.Get("shop"); return !known })
	if !r.connected(t, kept) {
		t.Error("a connection ended of the provider that has the other name now")
	}
}

// A typo in a file must not end what users consented to.
//
// proves: O-2
func TestProviderThatVanishesFromAFileIsDisabledAndItsConnectionsStay(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	server := &revoker{}
	r.revokes(t, server)
	p := r.get("filed")
	kept := r.connect(t, p)
	other := set(t, `{"other": `+fields("c", "")+`}`)
	if err := r.UseFiles(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if r.get("filed") != nil || !r.connected(t, kept) || !slices.Equal(r.Vanished(), []string{"filed"}) {
		t.Error("it serves, or its connection has ended")
	}
	if r.Find("filed", p.Destination(), p.Bound()) == nil {
		t.Error("nobody can revoke there")
	}
	if err := r.UseFiles(t.Context(), set(t, w.files)); err != nil {
		t.Fatal(err)
	}
	if r.get("filed") == nil || !r.connected(t, kept) || slices.Contains(r.Vanished(), "filed") {
		t.Error("it came back, and does not serve, or its connection has ended")
	}
	if err := r.UseFiles(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Remove(t.Context(), "filed", "ops"); err != nil {
		t.Fatal(err)
	}
	until(t, "DELETE ends its connection", func() bool { return !r.connected(t, kept) })
	until(t, "and revokes it", func() bool { return len(server.asked()) == 1 })
	until(t, "nothing is left", func() bool { _, there := r.Get("filed"); return !there })
	if _, err := r.Remove(t.Context(), "filed", "ops"); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("a second time: %v", err)
	}
}

// Nobody can read where the users' tokens are revoked any more; here they end.
//
// proves: O-2
func TestConnectionsEndOfAProviderWhoseRecordDoesNotOpen(t *testing.T) {
	w := newWorld(t)
	one := w.start(t)
	one.add(t, "shop", config("c", ""))
	one.add(t, "depot", config("c", ""))
	tag, other := one.connect(t, one.get("shop")), one.connect(t, one.get("depot"))
	one.stop()
	w.redis.Set("ath:{providers}:provider:"+string(tokenstore.ProviderTag("shop")), "\x01rubbish")
	r := w.start(t)
	r.revokes(t, &revoker{})
	if e, there := r.Get("shop"); !there || e.ID != "shop" || !errors.Is(e.Err, tokenstore.ErrCorrupt) || !r.connected(t, tag) {
		t.Errorf("%+v", e)
	}
	if e, err := r.Remove(t.Context(), "shop", "ops"); err != nil || e.State != tokenstore.ProviderDraining || e.ID != "shop" {
		t.Fatalf("%+v, %v", e, err)
	}
	until(t, "its connection ends", func() bool { return !r.connected(t, tag) })
	until(t, "the record goes", func() bool { _, there := r.Get("shop"); return !there })
	if !r.connected(t, other) {
		t.Error("a connection of another provider ended")
	}
}

// Ending connections of before writes the record, too. That is nothing for who removes
// the provider to hear of.
func TestARemovalIsNotRefusedForWhatIsWrittenMeanwhile(t *testing.T) {
	w := newWorld(t)
	other := w.make(t)
	meanwhile := 0
	r := w.make(t, func(c *catalog.Config) {
		c.Now = func() time.Time {
			if meanwhile > 0 {
				meanwhile--
				other.change(t, "shop", config(fmt.Sprint("c", meanwhile), ""))
			}
			return time.Now()
		}
	})
	r.add(t, "shop", config("c", ""))
	meanwhile = 2
	if _, err := r.Remove(t.Context(), "shop", "ops"); err != nil || meanwhile > 0 {
		t.Fatalf("%v, %d", err, meanwhile)
	}
	if e, _ := r.Get("shop"); e.State != tokenstore.ProviderDraining || r.get("shop") != nil {
		t.Errorf("%+v", e)
	}
}

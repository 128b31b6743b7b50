package tokenstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// runtimeProvider is one with every field set.
func runtimeProvider(id string) tokenstore.RuntimeProvider {
	now := time.Now().UTC().Truncate(time.Second)
	return tokenstore.RuntimeProvider{
		ID: id, Config: ath.NewSecret(`{"client_secret":"shh"}`), State: tokenstore.ProviderActive,
		Former:  []tokenstore.FormerConfig{{Config: ath.NewSecret(`{"client_secret":"former"}`), Until: now}},
		Created: now, CreatedBy: "ops", Changed: now, ChangedBy: "dev", Left: 3,
	}
}

// addProvider makes one.
func addProvider(t testing.TB, s *tokenstore.Store, p tokenstore.RuntimeProvider) tokenstore.Held[tokenstore.RuntimeProvider] {
	t.Helper()
	held, err := s.RuntimeProvider(t.Context(), p.ID)
	if err == nil {
		held, err = s.SwapRuntimeProvider(t.Context(), held, p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func testProviders(t *testing.T, b backend) {
	s, ctx := b.open(t), t.Context()
	notified(t, s)
	watch := s.Watch()
	defer watch.Close()
	tags, err := s.RuntimeProviderTags(ctx)
	noErr(t, err)
	equal(t, len(tags), 0)
	none, err := s.RuntimeProvider(ctx, "shop")
	noErr(t, err)
	equal(t, none.Value, tokenstore.RuntimeProvider{})
	want := runtimeProvider("shop")
	first, err := s.SwapRuntimeProvider(ctx, none, want)
	noErr(t, err)
	want.Generation = 1
	equal(t, first.Value, want)
	awaitChange(t, watch, tokenstore.ProviderChanged, tokenstore.ProviderTag("shop"), ath.Digest{})
	read, err := s.RuntimeProvider(ctx, "shop")
	noErr(t, err)
	equal(t, read.Value, want)
	equal(t, read.ProviderStamp(), first.ProviderStamp())

	t.Run("of two that write at once one is told", func(t *testing.T) {
		_, err := s.SwapRuntimeProvider(ctx, none, want)
		wantErr(t, err, tokenstore.ErrChanged)
		second, err := s.SwapRuntimeProvider(ctx, read, want)
		noErr(t, err)
		equal(t, second.Value.Generation, 2)
		_, err = s.SwapRuntimeProvider(ctx, read, want)
		wantErr(t, err, tokenstore.ErrChanged)
		wantErr(t, s.RemoveRuntimeProvider(ctx, read), tokenstore.ErrChanged)
		read = second
	})
	t.Run("all are listed, and read at once", func(t *testing.T) {
		other := addProvider(t, s, runtimeProvider("depot"))
		tags, err := s.RuntimeProviderTags(ctx)
		noErr(t, err)
		equal(t, tags, []ath.Tag{tokenstore.ProviderTag("shop"), tokenstore.ProviderTag("depot")})
		tags = append(tags, tokenstore.ProviderTag("nobody"))
		all, err := s.RuntimeProviders(ctx, tags, nil)
		noErr(t, err)
		equal(t, all[0].Value, read.Value)
		equal(t, all[1].Value, other.Value)
		wantErr(t, all[2].Err, tokenstore.ErrNotFound)
		all, err = s.RuntimeProviders(ctx, tags[:2], func(tag ath.Tag) tokenstore.ProviderStamp {
			if tag == tags[0] {
				return read.ProviderStamp()
			}
			return tokenstore.ProviderStamp{}
		})
		noErr(t, err)
		if !all[0].Same || all[0].Value.ID != "" || all[1].Same || all[1].Value.ID != "depot" {
			t.Errorf("of one that is known: %+v", all)
		}
	})
	t.Run("what is removed is gone, and no generation is given out twice", func(t *testing.T) {
		noErr(t, s.RemoveRuntimeProvider(ctx, read))
		awaitChange(t, watch, tokenstore.ProviderChanged, tokenstore.ProviderTag("shop"), ath.Digest{})
		none, err := s.RuntimeProvider(ctx, "shop")
		noErr(t, err)
		equal(t, none.Value, tokenstore.RuntimeProvider{})
		tags, err := s.RuntimeProviderTags(ctx)
		noErr(t, err)
		equal(t, tags, []ath.Tag{tokenstore.ProviderTag("depot")})
		noErr(t, s.RemoveRuntimeProvider(ctx, read)) // as good as done
		again := addProvider(t, s, runtimeProvider("shop"))
		if again.Value.Generation <= read.Value.Generation+2 {
			t.Errorf("after generation %d, which was removed, comes %d", read.Value.Generation, again.Value.Generation)
		}
	})
	t.Run("a record is one provider's", func(t *testing.T) {
		none, err := s.RuntimeProvider(ctx, "third")
		noErr(t, err)
		if _, err := s.SwapRuntimeProvider(ctx, none, want); err == nil {
			t.Error("it passes to another id")
		}
		if _, err := s.SwapRuntimeProvider(ctx, tokenstore.Held[tokenstore.RuntimeProvider]{}, want); err == nil {
			t.Error("it was never read, and is swapped")
		}
		if s.RemoveRuntimeProvider(ctx, none) == nil {
			t.Error("it was never there, and is removed")
		}
	})
	t.Run("what is too large is refused", func(t *testing.T) {
		none, err := s.RuntimeProvider(ctx, "large")
		noErr(t, err)
		large := runtimeProvider("large")
		large.Config = ath.NewSecret(strings.Repeat("x", tokenstore.MaxProviderConfig+1))
		if _, err := s.SwapRuntimeProvider(ctx, none, large); err == nil {
			t.Error("it is stored")
		}
		for range tokenstore.MaxFormer {
			large.Former = append(large.Former, large.Former[0])
		}
		large.Config = want.Config
		if _, err := s.SwapRuntimeProvider(ctx, none, large); err == nil {
			t.Error("as many former ones are stored")
		}
	})
}

func testProviderRaces(t *testing.T, b backend) {
	const writers, each = 8, 5
	var all []*tokenstore.Store
	for range 2 {
		all = append(all, b.open(t))
		if b.url == tokenstore.Embedded {
			all = append(all, all[0])
			break
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	given := map[uint64]string{}
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("p%d-%d", w, i)
				s := all[w%2]
				held, err := s.RuntimeProvider(t.Context(), id)
				if err == nil {
					held, err = s.SwapRuntimeProvider(t.Context(), held, runtimeProvider(id))
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if other := given[held.Value.Generation]; other != "" {
					t.Errorf("%s and %s have generation %d", id, other, held.Value.Generation)
				}
				given[held.Value.Generation] = id
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	tags, err := all[0].RuntimeProviderTags(t.Context())
	noErr(t, err)
	equal(t, len(tags), writers*each)
}

// testProvidersFromBehind looks at what a hostile or damaged Redis does.
func testProvidersFromBehind(t *testing.T, b backend) {
	ctx := t.Context()
	var unreadable told
	s := b.open(t, func(c *tokenstore.Config) { c.Unreadable = unreadable.tell })
	shop, depot := addProvider(t, s, runtimeProvider("shop")), addProvider(t, s, runtimeProvider("depot"))
	keyOf := func(id string) string { return "ath:{providers}:provider:" + string(tokenstore.ProviderTag(id)) }
	tags := []ath.Tag{tokenstore.ProviderTag("shop"), tokenstore.ProviderTag("depot")}
	good, err := b.raw.Get(ctx, keyOf("shop")).Result()
	noErr(t, err)

	t.Run("one that does not open keeps no other from being read", func(t *testing.T) {
		noErr(t, b.raw.Set(ctx, keyOf("shop"), "\x01rubbish", 0).Err())
		defer b.raw.Set(ctx, keyOf("shop"), good, 0)
		all, err := s.RuntimeProviders(ctx, tags, nil)
		noErr(t, err)
		wantErr(t, all[0].Err, tokenstore.ErrCorrupt)
		equal(t, all[1].Value, depot.Value)
		if was := unreadable.take(); len(was) != 1 || !strings.HasPrefix(was[0], "provider ath:{providers}:provider") {
			t.Errorf("told: %q", was)
		}
	})
	t.Run("it has no end", func(t *testing.T) {
		for _, key := range []string{keyOf("shop"), "ath:{providers}:providers", "ath:{providers}:generation"} {
			if ttl := b.raw.PTTL(ctx, key).Val(); ttl != -1 {
				t.Errorf("%s ends in %v", key, ttl)
			}
		}
	})
	t.Run("entries of the index that nobody of us wrote are passed over", func(t *testing.T) {
		noErr(t, b.raw.Do(ctx, "ZADD", "ath:{providers}:providers", 1, "no tag", -5, strings.Repeat("x", 16)).Err())
		got, err := s.RuntimeProviderTags(ctx)
		noErr(t, err)
		equal(t, len(got), 3)
		all, err := s.RuntimeProviders(ctx, got, nil)
		noErr(t, err)
		wantErr(t, all[0].Err, tokenstore.ErrNotFound)
		noErr(t, b.raw.Do(ctx, "ZREM", "ath:{providers}:providers", "no tag", strings.Repeat("x", 16)).Err())
	})
	t.Run("who loses the last generation goes on by the index, and the other way round", func(t *testing.T) {
		noErr(t, b.raw.Del(ctx, "ath:{providers}:generation").Err())
		next, err := s.SwapRuntimeProvider(ctx, shop, shop.Value)
		noErr(t, err)
		equal(t, next.Value.Generation, depot.Value.Generation+1)
		noErr(t, b.raw.Del(ctx, "ath:{providers}:providers").Err())
		last, err := s.SwapRuntimeProvider(ctx, next, next.Value)
		noErr(t, err)
		equal(t, last.Value.Generation, next.Value.Generation+1)
	})
	t.Run("no more than there may be", func(t *testing.T) {
		var add []any
		for i := range tokenstore.MaxRuntimeProviders {
			add = append(add, 1, fmt.Sprintf("%016d", i))
		}
		noErr(t, b.raw.Do(ctx, append([]any{"ZADD", "ath:{providers}:providers"}, add...)...).Err())
		none, err := s.RuntimeProvider(ctx, "one-more")
		noErr(t, err)
		_, err = s.SwapRuntimeProvider(ctx, none, runtimeProvider("one-more"))
		wantErr(t, err, tokenstore.ErrTooManyProviders)
	})
}

func testProviderConnections(t *testing.T, b backend) {
	s, ctx := b.revoking(t, &policy{}), t.Context()
	mine := map[ath.Tag]bool{}
	for i := range 5 {
		f := newFlow(t)
		if i < 3 {
			f.connection.Provider, f.grant.Provider, f.connection.Destination = "rt", "rt", "here"
			mine[f.token.Tag()] = true
		}
		f.store(t, s)
	}
	is := func(name string) func(string) bool { return func(of string) bool { return of == name } }
	read := 0
	found := map[ath.Tag]bool{}
	look := func() error {
		clear(found)
		read = 0
		return s.ProviderConnections(ctx, is("rt"), func(_ context.Context, _, n int) error { read += n; return nil },
			func(_ context.Context, c tokenstore.ProviderConnection) error {
				if c.Corrupt || c.Destination != "here" || c.Provider != "rt" {
					t.Errorf("%+v", c)
				}
				found[c.Tag] = true
				return nil
			})
	}
	noErr(t, look())
	equal(t, found, mine)
	if read < 5 {
		t.Errorf("it has read %d", read)
	}
	waits, err := s.ProviderRevocations(ctx)
	noErr(t, err)
	equal(t, waits, map[string]int{})
	for tag := range mine {
		_, err := s.EndConnection(ctx, tag, time.Now())
		noErr(t, err)
	}
	noErr(t, look())
	equal(t, len(found), 0)
	waits, err = s.ProviderRevocations(ctx)
	noErr(t, err)
	equal(t, waits, map[string]int{"rt": 3})
	stop := errors.New("enough")
	err = s.ProviderConnections(ctx, is("github"), func(context.Context, int, int) error { return nil },
		func(context.Context, tokenstore.ProviderConnection) error { return stop })
	wantErr(t, err, stop)
}

package tokenstore_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// What operators do: list agents, remove one, end what hangs on one.

func everyone(*tokenstore.Agent) bool { return true }

// list walks over all pages of this size.
func list(t *testing.T, s *tokenstore.Store, limit int, keep func(*tokenstore.Agent) bool) (ids, corrupt []string, pages int) {
	t.Helper()
	for after := ath.Tag(""); ; {
		page, err := s.Agents(t.Context(), after, limit, keep)
		noErr(t, err)
		if n := len(page.Agents) + len(page.Corrupt); n > limit {
			t.Fatalf("a page has %d entries, want at most %d", n, limit)
		}
		for _, a := range page.Agents {
			ids = append(ids, a.ID)
		}
		corrupt = append(corrupt, page.Corrupt...)
		pages++
		if page.Next == "" {
			return ids, corrupt, pages
		}
		if page.Next <= after {
			t.Fatalf("the page behind %q leads to %q", after, page.Next)
		}
		after = page.Next
	}
}

func testListing(t *testing.T, b backend) {
	s, ctx := b.open(t), t.Context()
	t.Run("of nobody is empty", func(t *testing.T) {
		if ids, corrupt, pages := list(t, s, 10, everyone); len(ids)+len(corrupt) != 0 || pages != 1 {
			t.Fatalf("%q, %q on %d pages", ids, corrupt, pages)
		}
	})
	var want, suspended []string
	for i := range 250 { // more than one batch of records
		a := newFlow(t).agent
		if a.Suspended = i%10 == 0; a.Suspended {
			suspended = append(suspended, a.ID)
		}
		noErr(t, s.CreateAgent(ctx, a))
		want = append(want, a.ID)
	}
	newFlow(t).store(t, s) // sessions, grants and connections are not agents, but here is one more
	last, err := s.Agents(ctx, "", 1000, everyone)
	noErr(t, err)
	for _, a := range last.Agents {
		if !slices.Contains(want, a.ID) {
			want = append(want, a.ID)
		}
	}
	slices.Sort(want)
	slices.Sort(suspended)
	if len(want) != 251 {
		t.Fatalf("%d agents are listed, want 251", len(want))
	}
	for _, limit := range []int{1000, 251, 100, 7} {
		t.Run(fmt.Sprintf("every agent is on one page of %d, once", limit), func(t *testing.T) {
			ids, corrupt, _ := list(t, s, limit, everyone)
			slices.Sort(ids)
			if !slices.Equal(ids, want) || len(corrupt) != 0 {
				t.Fatalf("%d agents and %q, want %d", len(ids), corrupt, len(want))
			}
		})
	}
	t.Run("only what is wanted fills a page", func(t *testing.T) {
		ids, _, pages := list(t, s, 10, func(a *tokenstore.Agent) bool { return a.Standing() == tokenstore.Suspended })
		slices.Sort(ids)
		if !slices.Equal(ids, suspended) || pages > 4 {
			t.Fatalf("%d agents on %d pages, want %d", len(ids), pages, len(suspended))
		}
	})
	t.Run("a listing without a limit, or behind nothing, is refused", func(t *testing.T) {
		if _, err := s.Agents(ctx, "", 0, everyone); err == nil {
			t.Error("no limit was accepted")
		}
		if _, err := s.Agents(ctx, "}:agent", 10, everyone); err == nil {
			t.Error("a tag that is none was accepted")
		}
	})
}

func testListingCorrupt(t *testing.T, b backend) {
	s, f, ctx := b.open(t), newFlow(t), t.Context()
	noErr(t, s.CreateAgent(ctx, f.agent))
	strange := newFlow(t).agent
	key := "ath:{" + string(ath.AgentTag(strange.ID)) + "}:agent"
	noErr(t, b.raw.Set(ctx, key, "\x01not sealed by us", time.Hour).Err())
	noErr(t, b.raw.Set(ctx, "ath:{short}:agent", "not a key of ours", time.Hour).Err())
	noErr(t, b.raw.Set(ctx, "ath:{"+string(ath.NewTag())+"}:x:agent", "nor this", time.Hour).Err())

	ids, corrupt, _ := list(t, s, 1, func(*tokenstore.Agent) bool { return false })
	if len(ids) != 0 || !slices.Equal(corrupt, []string{key}) {
		t.Fatalf("agents %q, corrupt %q; want none and %q", ids, corrupt, key)
	}
	if ids, _, _ = list(t, s, 10, everyone); !slices.Equal(ids, []string{f.agent.ID}) {
		t.Fatalf("agents %q, want %q", ids, f.agent.ID)
	}
}

func testRemoval(t *testing.T, b backend) {
	s, f, ctx := b.open(t), newFlow(t), t.Context()
	f.store(t, s)
	tag := ath.AgentTag(f.agent.ID)
	old, err := s.Agent(ctx, tag)
	noErr(t, err)
	next := old.Value
	next.Purpose = "another"
	noErr(t, s.SwapAgent(ctx, old, next))

	t.Run("what was read before a change removes nothing", func(t *testing.T) {
		wantErr(t, s.RemoveAgent(ctx, old), tokenstore.ErrChanged)
		_, err := s.Agent(ctx, tag)
		noErr(t, err)
	})
	t.Run("what was never read removes nothing", func(t *testing.T) {
		if err := s.RemoveAgent(ctx, tokenstore.Held[tokenstore.Agent]{}); err == nil {
			t.Fatal("it did")
		}
	})
	t.Run("R-7: the next read finds no agent", func(t *testing.T) {
		held, err := s.Agent(ctx, tag)
		noErr(t, err)
		noErr(t, s.RemoveAgent(ctx, held))
		reading, err := s.Read(ctx, f.token, f.agent.ID)
		noErr(t, err)
		if reading.Agent != nil {
			t.Fatal("the agent is still there")
		}
		noErr(t, s.RemoveAgent(ctx, held)) // gone is as good
		wantErr(t, s.SwapAgent(ctx, held, held.Value), tokenstore.ErrChanged)
	})
	t.Run("a new registration is not removed by what was read of the old one", func(t *testing.T) {
		held := old
		noErr(t, s.CreateAgent(ctx, f.agent))
		wantErr(t, s.RemoveAgent(ctx, held), tokenstore.ErrChanged)
	})
}

func testEndConnections(t *testing.T, b backend) {
	s, f, ctx := b.open(t), newFlow(t), t.Context()
	f.store(t, s)
	stranger := newFlow(t)
	stranger.store(t, s)
	second := ath.NewToken(f.token.Tag()) // of the same connection
	noErr(t, s.PutGrant(ctx, second, f.grant))
	other := newFlow(t) // another connection of the same agent
	other.connection.Agent, other.grant.Agent = f.agent.ID, f.agent.ID
	noErr(t, s.PutConnection(ctx, other.token.Tag(), other.connection, other.session.Expires))
	noErr(t, s.PutGrant(ctx, other.token, other.grant))
	fresh := ath.NewTag() // consented to, without a grant yet
	noErr(t, s.PutConnection(ctx, fresh, f.connection, f.session.Expires))

	at := f.grant.Issued.Add(time.Minute)
	n, err := s.EndConnections(ctx, f.agent.ID, at)
	noErr(t, err)
	if n != 3 {
		t.Errorf("%d connections ended, want 3", n)
	}
	for name, token := range map[string]ath.Token{"the first": f.token, "the second": second, "another connection's": other.token} {
		reading, err := s.Read(ctx, token, f.agent.ID)
		noErr(t, err)
		if reading.Grant == nil || !reading.Grant.Revoked.Equal(at) || reading.Connection != nil {
			t.Errorf("R-7: %s token reads %+v", name, reading)
		}
	}
	late := f.grant
	late.Connection = fresh
	wantErr(t, s.PutGrant(ctx, ath.NewToken(fresh), late), tokenstore.ErrNotFound)

	t.Run("nobody else's", func(t *testing.T) {
		reading, err := s.Read(ctx, stranger.token, stranger.agent.ID)
		noErr(t, err)
		if reading.Connection == nil || !reading.Grant.Revoked.IsZero() {
			t.Fatalf("the stranger's token reads %+v", reading)
		}
	})
	t.Run("once", func(t *testing.T) {
		if n, err := s.EndConnections(ctx, f.agent.ID, at); err != nil || n != 0 {
			t.Fatalf("%d ended again, %v", n, err)
		}
	})
	t.Run("of an agent without any", func(t *testing.T) {
		if n, err := s.EndConnections(ctx, "https://nobody.example/", at); err != nil || n != 0 {
			t.Fatalf("%d, %v", n, err)
		}
	})
}

func testConnectionsIndex(t *testing.T, b backend) {
	s, f, ctx := b.open(t), newFlow(t), t.Context()
	f.store(t, s)
	index := endsWith(t, b.dump(t), ":conns")
	members := func() []string { return b.raw.ZRange(ctx, index, 0, -1).Val() }

	t.Run("R-7: names a connection once, until its last grant's end", func(t *testing.T) {
		long := f.grant
		long.Expires = f.grant.Expires.Add(time.Minute)
		noErr(t, s.PutGrant(ctx, ath.NewToken(f.token.Tag()), long))
		noErr(t, s.PutGrant(ctx, ath.NewToken(f.token.Tag()), f.grant)) // does not shorten it
		score := b.raw.ZScore(ctx, index, string(f.token.Tag())).Val()
		if len(members()) != 1 || int64(score) != long.Expires.UnixMilli() {
			t.Fatalf("%q until %.0f, want %d", members(), score, long.Expires.UnixMilli())
		}
	})
	t.Run("what is over goes when something is entered", func(t *testing.T) {
		over := redis.Z{Score: float64(time.Now().Add(-time.Hour).UnixMilli()), Member: string(ath.NewTag())}
		noErr(t, b.raw.ZAdd(ctx, index, over).Err())
		noErr(t, s.PutGrant(ctx, ath.NewToken(f.token.Tag()), f.grant))
		if slices.Contains(members(), over.Member.(string)) {
			t.Fatalf("%q holds what was over an hour ago", members())
		}
	})
	t.Run("who writes to it ends nobody else's connection", func(t *testing.T) {
		victim := newFlow(t)
		victim.store(t, s)
		live := redis.Z{Score: float64(time.Now().Add(time.Hour).UnixMilli())}
		for _, member := range []string{string(victim.token.Tag()), "}:x{", ""} {
			live.Member = member
			noErr(t, b.raw.ZAdd(ctx, index, live).Err())
		}
		if _, err := s.EndConnections(ctx, f.agent.ID, time.Now()); err != nil {
			t.Fatal(err)
		}
		reading, err := s.Read(ctx, victim.token, victim.agent.ID)
		noErr(t, err)
		if reading.Connection == nil || !reading.Grant.Revoked.IsZero() {
			t.Fatalf("the victim's token reads %+v", reading)
		}
	})
	t.Run("no record of an ended agent is left but tombstones", func(t *testing.T) {
		held, err := s.Agent(ctx, ath.AgentTag(f.agent.ID))
		noErr(t, err)
		noErr(t, s.RemoveAgent(ctx, held))
		for key := range b.dump(t) {
			mine := strings.Contains(key, string(ath.AgentTag(f.agent.ID))) || strings.Contains(key, string(f.token.Tag()))
			if mine && !strings.Contains(key, ":grant:") {
				t.Errorf("%s is left", key)
			}
		}
	})
}

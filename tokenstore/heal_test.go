package tokenstore_test

import (
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// testHealing gives a connection new tokens in place of those that the provider ended.
// proves: P-10
func testHealing(t *testing.T, b backend) {
	p := &policy{}
	s, ctx := b.revoking(t, p), t.Context()
	other := s
	if b.url != tokenstore.Embedded {
		other = b.revoking(t, p)
	}
	connected := func(t *testing.T) flow {
		t.Helper()
		f := newFlow(t)
		noErr(t, s.CreateAgent(ctx, f.agent))
		f.connect(t, s)
		return f
	}
	state := func(t *testing.T, f *flow) tokenstore.HealState {
		t.Helper()
		h := tokenstore.NewHealing(&f.grant, f.grant.Generation, time.Now())
		state, err := other.HealState(ctx, &h, standingTerms)
		noErr(t, err)
		return state
	}
	with := func(c tokenstore.Connection, token string) tokenstore.Connection {
		c.Access, c.Refresh = ath.NewSecret("access "+token), ath.NewSecret("refresh "+token)
		return c
	}
	has := func(t *testing.T, f *flow, token string) {
		t.Helper()
		got, err := s.Read(ctx, f.token, f.agent.ID)
		noErr(t, err)
		if got.Connection == nil || !got.Connection.Access.Equal("access "+token) || !got.Connection.Refresh.Equal("refresh "+token) {
			t.Errorf("the token leads to %+v, want that of the %s consent", got.Connection, token)
		}
	}

	t.Run("tokens of before work again, and a refresh that was under way changes nothing", func(t *testing.T) {
		f := connected(t)
		begun := newRefresh(t, s, f)
		noErr(t, s.BeginRefresh(ctx, begun, time.Minute))
		at := state(t, &f)
		equal(t, at.Held, f.grant.Scopes)
		noErr(t, other.Heal(ctx, &at, with(at.Connection, "second"), time.Now()))
		has(t, &f, "second")
		wantErr(t, s.FinishRefresh(ctx, begun, withNewTokens(begun), 0), tokenstore.ErrChanged)
		has(t, &f, "second")
		now, err := s.RefreshState(ctx, refOf(f))
		noErr(t, err)
		if now.Leased || now.Attempt != nil {
			t.Errorf("the new token waits for the refresh of the old one: %+v", now.Attempt)
		}
	})
	t.Run("of two consents the later one's tokens stay, in whatever order they are stored", func(t *testing.T) {
		f, came := connected(t), time.Now()
		at := state(t, &f)
		noErr(t, s.Heal(ctx, &at, with(at.Connection, "later"), came))
		at = state(t, &f)
		wantErr(t, other.Heal(ctx, &at, with(at.Connection, "earlier"), came.Add(-10*time.Second)), tokenstore.ErrExists)
		has(t, &f, "later")
		noErr(t, other.Heal(ctx, &at, with(at.Connection, "last"), time.Now()))
		has(t, &f, "last")
	})
	t.Run("tokens that come after it was read are the last ones, however long they wait to be stored", func(t *testing.T) {
		f, began := connected(t), time.Now()
		at := state(t, &f)
		noErr(t, s.Heal(ctx, &at, with(at.Connection, "first"), began))
		at = state(t, &f)
		came := time.Now()
		for age := came.Sub(began); time.Since(came) <= age; { // older than those that are there were when it was read
			state(t, &f)
		}
		noErr(t, other.Heal(ctx, &at, with(at.Connection, "last"), came))
		has(t, &f, "last")
	})
	t.Run("what was written since it was read stays", func(t *testing.T) {
		f := connected(t)
		before := state(t, &f)
		at := state(t, &f)
		noErr(t, s.Heal(ctx, &at, with(at.Connection, "first"), time.Now()))
		wantErr(t, other.Heal(ctx, &before, with(before.Connection, "second"), time.Now()), tokenstore.ErrChanged)
		has(t, &f, "first")
	})
	t.Run("nothing that was queued for revocation ends the new tokens", func(t *testing.T) {
		f := connected(t)
		_, err := s.HandRevocation(ctx, f.token.Tag(), &f.connection)
		noErr(t, err)
		at := state(t, &f)
		noErr(t, s.Heal(ctx, &at, with(at.Connection, "second"), time.Now()))
		_, err = s.Revocation(ctx, f.token.Tag())
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	// proves: V-6
	t.Run("what has ended is not brought back", func(t *testing.T) {
		f := connected(t)
		at := state(t, &f)
		_, err := s.EndConnection(ctx, f.token.Tag(), time.Now())
		noErr(t, err)
		wantErr(t, other.Heal(ctx, &at, with(at.Connection, "second"), time.Now()), tokenstore.ErrChanged)
		h := tokenstore.NewHealing(&f.grant, f.grant.Generation, time.Now())
		_, err = s.HealState(ctx, &h, standingTerms)
		wantErr(t, err, tokenstore.ErrNotFound)
		wantErr(t, s.PutGrant(ctx, ath.NewToken(f.token.Tag()), f.grant), tokenstore.ErrNotFound)
	})
	t.Run("a link from before the end of a shared connection heals none of the next one's", func(t *testing.T) {
		f := shared(t, "user "+string(ath.NewTag()))
		f.share(t, s, time.Now())
		h := tokenstore.NewHealing(&f.grant, f.grant.Generation, time.Now())
		_, err := s.EndConnection(ctx, f.token.Tag(), time.Now())
		noErr(t, err)
		again := f
		again.share(t, s, time.Now())
		_, err = s.HealState(ctx, &h, standingTerms)
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	t.Run("a shared connection gets the tokens of a consent that comes to nothing else, and nobody else's does", func(t *testing.T) {
		f := shared(t, "user "+string(ath.NewTag()))
		f.share(t, s, time.Now())
		keep := func(user, token string, came time.Time) bool {
			kept, err := other.KeepShared(ctx, user, f.grant.Provider, f.connection.Destination, came, func(c tokenstore.Connection) tokenstore.Connection {
				return with(c, token)
			})
			noErr(t, err)
			return kept
		}
		if keep("another", "another's", time.Now()) {
			t.Error("a connection was made of it")
		}
		f.reads(t, s, f.connection)
		if !keep(f.grant.User, "second", time.Now()) || !keep(f.grant.User, "late", time.Now().Add(-20*time.Second)) {
			t.Error("it was not taken, nor known to be there")
		}
		has(t, &f, "second")
	})
}

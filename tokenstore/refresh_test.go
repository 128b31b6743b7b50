package tokenstore_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

func refOf(f flow) tokenstore.ConnectionRef {
	return tokenstore.ConnectionRef{Tag: f.token.Tag(), Agent: f.agent.ID, User: f.connection.User, Provider: f.connection.Provider}
}

// newRefresh prepares an attempt on a flow's connection.
func newRefresh(t *testing.T, s *tokenstore.Store, f flow) *tokenstore.Refresh {
	t.Helper()
	state, err := s.RefreshState(t.Context(), refOf(f))
	noErr(t, err)
	r, err := s.NewRefresh(state, tokenstore.Attempt{Of: ath.DigestOf(f.connection.Refresh.Reveal()), Unknown: true, Wait: 60_000})
	noErr(t, err)
	return r
}

// withNewTokens is a connection with new tokens.
func withNewTokens(of *tokenstore.Refresh) *tokenstore.Connection {
	c := of.State.Connection
	c.Access, c.Refresh = ath.NewSecret("new access"), ath.NewSecret("new refresh")
	c.RefreshStatus.Refreshed = time.Now().UTC().Truncate(time.Millisecond)
	return &c
}

// testRefresh holds that of any number of athd one is at a connection, and that
// what one of them brings back replaces nothing but what it was made of.
func testRefresh(t *testing.T, b backend) {
	ctx := t.Context()
	s := b.open(t)
	stores := []*tokenstore.Store{s, s}
	if b.url != tokenstore.Embedded {
		stores[1] = b.open(t)
	}
	fresh := func(t *testing.T) flow {
		f := newFlow(t)
		f.store(t, s)
		return f
	}
	state := func(t *testing.T, f flow) tokenstore.RefreshState {
		t.Helper()
		state, err := s.RefreshState(ctx, refOf(f))
		noErr(t, err)
		return state
	}

	t.Run("of many that begin at once, one does", func(t *testing.T) {
		f := fresh(t)
		var won atomic.Int64
		var all sync.WaitGroup
		for i := range contenders {
			r := newRefresh(t, s, f)
			all.Go(func() {
				err := stores[i%2].BeginRefresh(ctx, r, time.Minute)
				if err == nil {
					won.Add(1)
					return
				}
				wantErr(t, err, tokenstore.ErrChanged)
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("%d begin", won.Load())
		}
	})
	t.Run("what was begun shows until it is finished", func(t *testing.T) {
		f := fresh(t)
		r := newRefresh(t, s, f)
		if st := state(t, f); st.Leased || st.Attempt != nil {
			t.Fatalf("before: %+v", st)
		}
		noErr(t, s.BeginRefresh(ctx, r, time.Minute))
		noErr(t, s.BeginRefresh(ctx, r, time.Minute)) // its first answer was lost
		st := state(t, f)
		if !st.Leased || st.Attempt == nil || !st.Attempt.Unknown || st.Attempt.Of != ath.DigestOf(f.connection.Refresh.Reveal()) || st.Age > time.Minute {
			t.Fatalf("begun: %+v, age %v", st.Attempt, st.Age)
		}
		noErr(t, s.RenewLease(ctx, r, time.Minute))
		n := withNewTokens(r)
		noErr(t, s.FinishRefresh(ctx, r, n, 0))
		noErr(t, s.FinishRefresh(ctx, r, n, 0)) // its first answer was lost
		st = state(t, f)
		if st.Leased || st.Attempt != nil || !st.Connection.Access.Equal("new access") || !st.Connection.RefreshStatus.Refreshed.Equal(n.RefreshStatus.Refreshed) {
			t.Errorf("finished: %+v", st)
		}
		if reading, err := s.Read(ctx, f.token, f.agent.ID); err != nil || !reading.Connection.Access.Equal("new access") {
			t.Errorf("a decision reads %+v, %v", reading.Connection, err)
		}
	})
	t.Run("who was overtaken replaces nothing", func(t *testing.T) {
		if b.still {
			return
		}
		f := fresh(t)
		slow := newRefresh(t, s, f)
		noErr(t, s.BeginRefresh(ctx, slow, time.Millisecond))
		until(t, "the lease ends", func() bool { return !state(t, f).Leased })
		quick := newRefresh(t, s, f)
		noErr(t, s.BeginRefresh(ctx, quick, time.Minute))
		wantErr(t, s.RenewLease(ctx, slow, time.Minute), tokenstore.ErrChanged)
		noErr(t, s.FinishRefresh(ctx, quick, withNewTokens(quick), 0))
		wantErr(t, s.FinishRefresh(ctx, slow, withNewTokens(slow), 0), tokenstore.ErrChanged)
		wantErr(t, s.BeginRefresh(ctx, slow, time.Minute), tokenstore.ErrChanged)
	})
	t.Run("who is overtaken takes no lease away", func(t *testing.T) {
		if b.still {
			return
		}
		f := fresh(t)
		slow := newRefresh(t, s, f)
		noErr(t, s.BeginRefresh(ctx, slow, time.Millisecond))
		until(t, "the lease ends", func() bool { return !state(t, f).Leased })
		quick := newRefresh(t, s, f)
		noErr(t, s.BeginRefresh(ctx, quick, time.Minute))
		noErr(t, s.FinishRefresh(ctx, slow, withNewTokens(slow), 0))
		if st := state(t, f); !st.Leased || st.Attempt == nil {
			t.Error("the other's lease or attempt is gone")
		}
		wantErr(t, s.FailRefresh(ctx, slow, nil), tokenstore.ErrChanged)
		if st := state(t, f); !st.Leased || st.Attempt == nil {
			t.Error("the other's lease or attempt is gone")
		}
	})
	// proves: P-6
	t.Run("who has its lease again keeps others from a call", func(t *testing.T) {
		if b.still {
			return
		}
		f := fresh(t)
		slow := newRefresh(t, s, f)
		noErr(t, s.BeginRefresh(ctx, slow, time.Millisecond))
		until(t, "the lease ends", func() bool { return !state(t, f).Leased })
		quick := newRefresh(t, s, f) // it has read that nobody is at it
		noErr(t, s.RenewLease(ctx, slow, time.Minute))
		wantErr(t, s.BeginRefresh(ctx, quick, time.Minute), tokenstore.ErrChanged)
		noErr(t, s.FinishRefresh(ctx, slow, withNewTokens(slow), 0))
		if st := state(t, f); st.Leased || st.Attempt != nil {
			t.Errorf("finished: %+v", st)
		}
	})
	t.Run("what failed is remembered, or not", func(t *testing.T) {
		f := fresh(t)
		r := newRefresh(t, s, f)
		noErr(t, s.BeginRefresh(ctx, r, time.Minute))
		noErr(t, s.FailRefresh(ctx, r, &tokenstore.Attempt{Of: ath.DigestOf("x"), Failed: 3, Wait: 5}))
		if st := state(t, f); st.Leased || st.Attempt == nil || st.Attempt.Failed != 3 || st.Attempt.Unknown {
			t.Errorf("failed: %+v", st.Attempt)
		}
		r = newRefresh(t, s, f)
		noErr(t, s.BeginRefresh(ctx, r, time.Minute))
		noErr(t, s.FailRefresh(ctx, r, nil))
		if st := state(t, f); st.Leased || st.Attempt != nil {
			t.Errorf("withdrawn: %+v", st)
		}
	})
	t.Run("a connection that ended is not brought back", func(t *testing.T) {
		f := fresh(t)
		r := newRefresh(t, s, f)
		noErr(t, s.BeginRefresh(ctx, r, time.Minute))
		grant, err := s.Grant(ctx, f.token)
		noErr(t, err)
		noErr(t, s.Revoke(ctx, grant, time.Now()))
		wantErr(t, s.FinishRefresh(ctx, r, withNewTokens(r), 0), tokenstore.ErrChanged)
		_, err = s.RefreshState(ctx, refOf(f))
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	t.Run("it opens for nobody else", func(t *testing.T) {
		f := fresh(t)
		for _, ref := range []tokenstore.ConnectionRef{
			{Tag: f.token.Tag(), Agent: "https://other.example/a.json", User: "u1", Provider: "github"},
			{Tag: f.token.Tag(), Agent: f.agent.ID, User: "u2", Provider: "github"},
			{Tag: f.token.Tag(), Agent: f.agent.ID, User: "u1", Provider: "shop"},
		} {
			_, err := s.RefreshState(ctx, ref)
			wantErr(t, err, tokenstore.ErrCorrupt)
		}
	})
	t.Run("an attempt ages by the server's clock", func(t *testing.T) {
		if b.still {
			return
		}
		f := fresh(t)
		r := newRefresh(t, s, f)
		noErr(t, s.BeginRefresh(ctx, r, time.Minute))
		until(t, "it is older", func() bool { return state(t, f).Age > 20*time.Millisecond })
	})
	_, err := s.NewRefresh(tokenstore.RefreshState{}, tokenstore.Attempt{})
	if err == nil {
		t.Error("an attempt on nothing")
	}
}

// testRefreshRecords looks at what is stored.
func testRefreshRecords(t *testing.T, b backend) {
	ctx := t.Context()
	s := b.open(t)
	f := newFlow(t)
	f.store(t, s)
	key := "ath:{" + string(f.token.Tag()) + "}:"
	before := b.raw.PTTL(ctx, key+"conn").Val()
	r := newRefresh(t, s, f)
	noErr(t, s.BeginRefresh(ctx, r, time.Minute))
	if ttl := b.raw.PTTL(ctx, key+"lease").Val(); ttl <= 0 || ttl > time.Minute {
		t.Errorf("the lease's ttl is %v", ttl)
	}
	if ttl := b.raw.PTTL(ctx, key+"refresh").Val(); ttl <= 23*time.Hour || ttl > 24*time.Hour {
		t.Errorf("the attempt's ttl is %v", ttl)
	}
	for _, what := range []string{"lease", "refresh"} {
		for name, secret := range f.secrets {
			if value := b.raw.Get(ctx, key+what).Val(); strings.Contains(value, secret) || strings.Contains(value, ath.DigestOf(secret).String()) {
				t.Errorf("%s holds the %s", what, name)
			}
		}
	}
	// A copy below another connection's key does not open.
	other := newFlow(t)
	other.store(t, s)
	copied := b.raw.Get(ctx, key+"refresh").Val()
	noErr(t, b.raw.Set(ctx, "ath:{"+string(other.token.Tag())+"}:refresh", copied, time.Hour).Err())
	_, err := s.RefreshState(ctx, refOf(other))
	wantErr(t, err, tokenstore.ErrCorrupt)

	noErr(t, s.FinishRefresh(ctx, r, withNewTokens(r), 0))
	if ttl := b.raw.PTTL(ctx, key+"conn").Val(); ttl <= 0 || ttl > before || ttl < before-time.Minute {
		t.Errorf("the connection's ttl was %v and is %v", before, ttl)
	}
	r = newRefresh(t, s, f)
	noErr(t, s.FinishRefresh(ctx, r, withNewTokens(r), 24*time.Hour))
	if ttl := b.raw.PTTL(ctx, key+"conn").Val(); ttl <= 23*time.Hour {
		t.Errorf("the connection's ttl is %v", ttl)
	}
	// Who ends the user finds it, though its grants may be over by then.
	if ttl := b.raw.PTTL(ctx, key+"owner").Val(); ttl <= 23*time.Hour {
		t.Errorf("the owner's ttl is %v", ttl)
	}
	later := b.open(t, func(c *tokenstore.Config) { c.Now = func() time.Time { return time.Now().Add(20 * time.Hour) } })
	for _, q := range []tokenstore.ConnectionQuery{{User: f.connection.User}, {Agent: f.agent.ID}} {
		q.Limit = 10
		all, _, _ := connections(t, later, q)
		if len(all) != 1 || all[0].Tag != f.token.Tag() || all[0].Tokens != 0 || all[0].RefreshStatus.Refreshed.IsZero() {
			t.Errorf("%+v: %+v", q, all)
		}
	}
	if n := b.raw.Exists(ctx, key+"lease").Val() + b.raw.Exists(ctx, key+"refresh").Val(); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

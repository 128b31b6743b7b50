package tokenstore_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// A policy answers for all connections, and counts what ended.
type policy struct {
	mu    sync.Mutex
	says  tokenstore.Upstream // "": queued
	judge func()              // is called before it answers
	ended map[tokenstore.Upstream][]tokenstore.ConnectionRef
}

func (p *policy) Judge(ath.Tag, *tokenstore.Connection) tokenstore.Upstream {
	if p.judge != nil {
		p.judge()
	}
	if p.says == "" {
		return tokenstore.UpstreamQueued
	}
	return p.says
}

func (p *policy) Ended(whose tokenstore.ConnectionRef, what tokenstore.Upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended == nil {
		p.ended = map[tokenstore.Upstream][]tokenstore.ConnectionRef{}
	}
	p.ended[what] = append(p.ended[what], whose)
}

func (p *policy) count(what tokenstore.Upstream) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ended[what])
}

// revoking opens a store that queues what is to be revoked at providers.
func (b backend) revoking(t *testing.T, p *policy, change ...func(*tokenstore.Config)) *tokenstore.Store {
	return b.open(t, append([]func(*tokenstore.Config){b.change, func(c *tokenstore.Config) { c.Upstream = p }}, change...)...)
}

// due are the tags that are due.
func due(t *testing.T, s *tokenstore.Store) map[ath.Tag]bool {
	t.Helper()
	entries, err := s.DueRevocations(t.Context(), 1000)
	noErr(t, err)
	tags := map[ath.Tag]bool{}
	for _, e := range entries {
		tags[e.Tag] = true
	}
	return tags
}

func queued(t *testing.T, s *tokenstore.Store, f flow) tokenstore.Held[tokenstore.Revocation] {
	t.Helper()
	held, err := s.Revocation(t.Context(), f.token.Tag())
	noErr(t, err)
	r := held.Value
	if !r.Refresh.Equal(f.connection.Refresh.Reveal()) || !r.Access.Equal(f.connection.Access.Reveal()) || r.User != f.connection.User ||
		r.Agent != f.connection.Agent || r.Provider != f.connection.Provider || r.Destination != f.connection.Destination || !r.Known {
		t.Fatalf("queued is %+v, of %+v", r, f.connection)
	}
	if !due(t, s)[f.token.Tag()] {
		t.Fatal("it is not due")
	}
	return held
}

// proves: V-5
func testRevocations(t *testing.T, b backend) {
	p := &policy{}
	s, ctx := b.revoking(t, p), t.Context()
	at := time.Now().UTC()
	stored := func(t *testing.T) flow {
		f := newFlow(t)
		f.store(t, s)
		return f
	}
	t.Run("what ends a connection queues its tokens, and leaves none in it", func(t *testing.T) {
		for name, end := range map[string]func(*testing.T, flow){
			"the last grant": func(t *testing.T, f flow) {
				held, err := s.Grant(ctx, f.token)
				noErr(t, err)
				noErr(t, s.Revoke(ctx, held, at))
			},
			"the connection": func(t *testing.T, f flow) {
				end, err := s.EndConnection(ctx, f.token.Tag(), at)
				noErr(t, err)
				equal(t, end, tokenstore.End{Was: true, Upstream: tokenstore.UpstreamQueued})
			},
			"the agent": func(t *testing.T, f flow) {
				_, err := s.EndConnections(ctx, f.agent.ID, at)
				noErr(t, err)
			},
		} {
			t.Run(name, func(t *testing.T) {
				f, before := stored(t), p.count(tokenstore.UpstreamQueued)
				end(t, f)
				held := queued(t, s, f)
				if !held.Value.Ended.Equal(at) {
					t.Errorf("ended at %v, want %v", held.Value.Ended, at)
				}
				if n := p.count(tokenstore.UpstreamQueued) - before; n != 1 {
					t.Errorf("the policy was told %d times", n)
				}
				select {
				case <-s.RevocationQueued():
				default:
					t.Error("nobody is woken")
				}
				end2, err := s.EndConnection(ctx, f.token.Tag(), at)
				noErr(t, err)
				equal(t, end2, tokenstore.End{})
				queued(t, s, f) // a second end takes nothing away
			})
		}
	})
	t.Run("a grant that is not the last one queues nothing, the last one does", func(t *testing.T) {
		f := stored(t)
		second := ath.NewToken(f.token.Tag())
		noErr(t, s.PutGrant(ctx, second, f.grant))
		held, err := s.Grant(ctx, second)
		noErr(t, err)
		noErr(t, s.Revoke(ctx, held, at))
		_, err = s.Revocation(ctx, f.token.Tag())
		wantErr(t, err, tokenstore.ErrNotFound)
		held, err = s.Grant(ctx, f.token)
		noErr(t, err)
		noErr(t, s.Revoke(ctx, held, at))
		queued(t, s, f)
	})
	t.Run("of two grants that are revoked at once one is the last", func(t *testing.T) {
		for range 20 {
			f := stored(t)
			second := ath.NewToken(f.token.Tag())
			noErr(t, s.PutGrant(ctx, second, f.grant))
			var both sync.WaitGroup
			for _, token := range []ath.Token{f.token, second} {
				held, err := s.Grant(ctx, token)
				noErr(t, err)
				both.Go(func() {
					if err := s.Revoke(ctx, held, at); err != nil {
						t.Error(err)
					}
				})
			}
			both.Wait()
			queued(t, s, f)
		}
	})
	t.Run("the tokens are those that the connection had at its end", func(t *testing.T) {
		f := stored(t)
		ref := tokenstore.ConnectionRef{Tag: f.token.Tag(), Agent: f.agent.ID, User: f.connection.User, Provider: f.connection.Provider}
		once := sync.OnceFunc(func() { // between reading it and ending it
			state, err := s.RefreshState(ctx, ref)
			noErr(t, err)
			r, err := s.NewRefresh(state, tokenstore.Attempt{})
			noErr(t, err)
			noErr(t, s.BeginRefresh(ctx, r, time.Second))
			f.connection.Refresh, f.connection.Access = ath.NewSecret("newer"), ath.NewSecret("newer-access")
			noErr(t, s.FinishRefresh(ctx, r, &f.connection, 0))
		})
		p.judge = once
		defer func() { p.judge = nil }()
		end, err := s.EndConnection(ctx, f.token.Tag(), at)
		noErr(t, err)
		equal(t, end.Upstream, tokenstore.UpstreamQueued)
		queued(t, s, f)
	})
	t.Run("what the policy does not want queued is not", func(t *testing.T) {
		defer func() { p.says = "" }()
		for _, what := range []tokenstore.Upstream{tokenstore.UpstreamNever, tokenstore.UpstreamUserUnknown, tokenstore.UpstreamUnsupported} {
			p.says = what
			f := stored(t)
			end, err := s.EndConnection(ctx, f.token.Tag(), at)
			noErr(t, err)
			equal(t, end, tokenstore.End{Was: true, Upstream: what})
			_, err = s.Revocation(ctx, f.token.Tag())
			wantErr(t, err, tokenstore.ErrNotFound)
			if p.count(what) != 1 {
				t.Errorf("%s: the policy was told %d times", what, p.count(what))
			}
		}
	})
	t.Run("one takes it, and others find that", func(t *testing.T) {
		f := stored(t)
		_, err := s.EndConnection(ctx, f.token.Tag(), at)
		noErr(t, err)
		held := queued(t, s, f)
		taken, err := s.TakeRevocation(ctx, held)
		noErr(t, err)
		if taken.Value.Tries != 1 || taken.Value.Due.IsZero() || due(t, s)[f.token.Tag()] {
			t.Errorf("taken is %+v", taken.Value)
		}
		_, err = s.TakeRevocation(ctx, held)
		wantErr(t, err, tokenstore.ErrChanged)
		again, err := s.Revocation(ctx, f.token.Tag())
		noErr(t, err)
		_, err = s.TakeRevocation(ctx, again)
		wantErr(t, err, tokenstore.ErrChanged)
		noErr(t, s.ReturnRevocation(ctx, taken, time.Now().Add(-time.Second)))
		held = queued(t, s, f)
		taken, err = s.TakeRevocation(ctx, held)
		noErr(t, err)
		if taken.Value.Tries != 2 {
			t.Errorf("tries are %d", taken.Value.Tries)
		}
		noErr(t, s.EndRevocation(ctx, taken))
		_, err = s.Revocation(ctx, f.token.Tag())
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	t.Run("newer tokens replace what is queued, also while somebody has taken it", func(t *testing.T) {
		f := stored(t)
		_, err := s.EndConnection(ctx, f.token.Tag(), at)
		noErr(t, err)
		taken, err := s.TakeRevocation(ctx, queued(t, s, f))
		noErr(t, err)
		f.connection.Refresh = ath.NewSecret("came-back-late")
		what, err := s.HandRevocation(ctx, f.token.Tag(), &f.connection)
		noErr(t, err)
		equal(t, what, tokenstore.UpstreamQueued)
		wantErr(t, s.EndRevocation(ctx, taken), tokenstore.ErrChanged)
		queued(t, s, f)
	})
	t.Run("an entry that leads to nothing is dropped, one that leads somewhere is not", func(t *testing.T) {
		f := stored(t)
		_, err := s.EndConnection(ctx, f.token.Tag(), at)
		noErr(t, err)
		noErr(t, s.DropRevocation(ctx, f.token.Tag()))
		held := queued(t, s, f)
		noErr(t, s.EndRevocation(ctx, held))
		if due(t, s)[f.token.Tag()] {
			t.Error("it is there")
		}
	})
	t.Run("what waits for a user's other connections is woken with them", func(t *testing.T) {
		f, g := stored(t), stored(t)
		user := "waiting-" + string(f.token.Tag())
		for _, f := range []*flow{&f, &g} {
			f.connection.User = user
			_, err := s.HandRevocation(ctx, f.token.Tag(), &f.connection)
			noErr(t, err)
			noErr(t, s.WaitRevocation(ctx, queued(t, s, *f), time.Now().Add(time.Hour)))
			if due(t, s)[f.token.Tag()] {
				t.Error("it is due")
			}
		}
		noErr(t, s.WakeRevocations(ctx, "somebody else"))
		if due(t, s)[f.token.Tag()] {
			t.Error("it was woken for somebody else")
		}
		noErr(t, s.WakeRevocations(ctx, user))
		queued(t, s, f)
		queued(t, s, g)
	})
	t.Run("of one user no more than some wait", func(t *testing.T) {
		user := "many-" + string(ath.NewTag())
		f := newFlow(t)
		f.connection.User = user
		for i := range tokenstore.MaxWaiting + 1 {
			tag := ath.NewTag()
			_, err := s.HandRevocation(ctx, tag, &f.connection)
			noErr(t, err)
			held, err := s.Revocation(ctx, tag)
			noErr(t, err)
			err = s.WaitRevocation(ctx, held, time.Now().Add(time.Hour))
			if i < tokenstore.MaxWaiting {
				noErr(t, err)
			} else {
				wantErr(t, err, tokenstore.ErrExists)
			}
		}
	})
	t.Run("a user's connections are found", func(t *testing.T) {
		user := "found-" + string(ath.NewTag())
		want := map[ath.Tag]bool{}
		for range 5 {
			f := of(t, newFlow(t).agent, user, "github")
			f.connect(t, s)
			want[f.token.Tag()] = true
		}
		noErr(t, s.OfUser(ctx, user, func(c *tokenstore.ConnectionInfo) bool {
			delete(want, c.Tag)
			return true
		}))
		if len(want) != 0 {
			t.Errorf("not found are %v", want)
		}
	})
	q, err := s.RevocationQueue(ctx)
	noErr(t, err)
	if q.Length == 0 || q.Next.IsZero() {
		t.Errorf("the queue is %+v", q)
	}
}

// proves: V-5
func testRevocationRecords(t *testing.T, b backend) {
	p := &policy{}
	s, ctx := b.revoking(t, p), t.Context()
	f := newFlow(t)
	f.store(t, s)
	tag := string(f.token.Tag())
	connection, record := "ath:{"+tag+"}:conn", "ath:{"+tag+"}:revocation"
	t.Run("a connection that does not open ends all the same", func(t *testing.T) {
		g := newFlow(t)
		g.store(t, s)
		other := "ath:{" + string(g.token.Tag()) + "}:conn"
		noErr(t, b.raw.Set(ctx, other, b.raw.Get(ctx, connection).Val(), time.Hour).Err())
		end, err := s.EndConnection(ctx, g.token.Tag(), time.Now())
		noErr(t, err)
		equal(t, end, tokenstore.End{Was: true, Upstream: tokenstore.UpstreamUnreadable})
		if b.raw.Exists(ctx, other).Val() != 0 {
			t.Error("it is there")
		}
		if p.count(tokenstore.UpstreamUnreadable) != 1 {
			t.Error("nobody was told")
		}
	})
	t.Run("one that changes again and again ends all the same", func(t *testing.T) {
		g := newFlow(t)
		g.store(t, s)
		key := "ath:{" + string(g.token.Tag()) + "}:conn"
		first := b.raw.Get(ctx, key).Val()
		noErr(t, s.PutConnection(ctx, g.token.Tag(), g.connection, g.session.Expires))
		two := []string{first, b.raw.Get(ctx, key).Val()}
		p.judge = func() { // is asked with one of both: the other one is put there
			now := b.raw.Get(ctx, key).Val()
			for _, raw := range two {
				if raw != now {
					noErr(t, b.raw.Set(ctx, key, raw, time.Hour).Err())
					return
				}
			}
		}
		defer func() { p.judge = nil }()
		held, err := s.Grant(ctx, g.token)
		noErr(t, err)
		noErr(t, s.Revoke(ctx, held, time.Now()))
		if b.raw.Exists(ctx, key).Val() != 0 {
			t.Error("it is there")
		}
		if p.count(tokenstore.UpstreamUnreadable) != 2 {
			t.Errorf("nobody was told: %v", p.ended)
		}
	})
	_, err := s.EndConnection(ctx, f.token.Tag(), time.Now())
	noErr(t, err)
	if left := b.raw.PTTL(ctx, record).Val(); !b.still && (left < 30*24*time.Hour || left > 31*24*time.Hour) {
		t.Errorf("it stays for %v", left)
	}
	t.Run("the entry is there before the record, for an athd that dies in between", func(t *testing.T) {
		g := newFlow(t)
		var steps []string
		watched := b.revoking(t, &policy{}, func(c *tokenstore.Config) {
			c.Observe = func(op string, _ time.Duration, _ error) {
				if op == "list_revocation" || op == "end_connection" {
					at := b.raw.ZScore(ctx, "ath:{revocations}:due", string(g.token.Tag())).Val()
					in := time.Until(time.UnixMilli(int64(at)))
					steps = append(steps, fmt.Sprint(op, " later:", in > 30*time.Second,
						" record:", b.raw.Exists(ctx, "ath:{"+string(g.token.Tag())+"}:revocation").Val()))
				}
			}
		})
		g.store(t, s)
		_, err := watched.EndConnection(ctx, g.token.Tag(), time.Now())
		noErr(t, err)
		equal(t, steps, []string{"list_revocation later:true record:0", "end_connection later:true record:1", "list_revocation later:false record:1"})
	})
	t.Run("a record under another's key does not open", func(t *testing.T) {
		other := ath.NewTag()
		noErr(t, b.raw.Set(ctx, "ath:{"+string(other)+"}:revocation", b.raw.Get(ctx, record).Val(), time.Hour).Err())
		_, err := s.Revocation(ctx, other)
		wantErr(t, err, tokenstore.ErrCorrupt)
	})
	t.Run("it is sealed, and no athd of before takes it for anything", func(t *testing.T) {
		raw := b.raw.Get(ctx, record).Val()
		for _, secret := range []string{f.connection.Refresh.Reveal(), f.connection.Access.Reveal(), f.connection.User, f.connection.Provider} {
			if secret != "" && strings.Contains(raw, secret) {
				t.Errorf("%q is in the clear", secret)
			}
		}
	})
}

// proves: V-5
func TestAnEntryThatCannotBeWrittenIsWrittenLater(t *testing.T) {
	// The queue is of another type: nothing can be put into it.
	server := realredis.Start(t)
	b := backend{url: server.URL(), raw: server.Client(), keys: newKeyset(t)}
	s, ctx := b.revoking(t, &policy{}), t.Context()
	f := newFlow(t)
	f.store(t, s)
	const queue = "ath:{revocations}:due"
	noErr(t, b.raw.Set(ctx, queue, "x", 0).Err())
	end, err := s.EndConnection(ctx, f.token.Tag(), time.Now())
	noErr(t, err)
	equal(t, end.Upstream, tokenstore.UpstreamQueued)
	noErr(t, b.raw.Del(ctx, queue).Err())
	queued(t, s, f)
}

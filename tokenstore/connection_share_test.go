package tokenstore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// shared is a flow of one of a user's agents that share a connection. The access
// token names the user.
func shared(t *testing.T, user string) flow {
	f := newFlow(t)
	f.connection.Agent, f.connection.User, f.connection.Destination = "", user, "https://as.example/token client https://api.example"
	f.connection.Access = ath.NewSecret(user + " " + f.connection.Access.Reveal())
	f.grant.User, f.grant.Shared = user, true
	return f
}

// share stores the tokens that came then, and the grant of an ATH token on them.
func (f *flow) share(t *testing.T, s *tokenstore.Store, came time.Time) {
	t.Helper()
	ref, err := s.ShareConnection(t.Context(), f.agent.ID, f.connection, f.session.Expires, came, nil)
	noErr(t, err)
	f.in(ref)
	noErr(t, s.PutGrant(t.Context(), f.token, f.grant))
}

// in makes the flow's token one of a shared connection as it is now.
func (f *flow) in(ref tokenstore.ConnectionRef) {
	f.on(ref.Tag)
	f.grant.Epoch = ref.Epoch
}

// on makes the flow's token one of this connection.
func (f *flow) on(tag ath.Tag) {
	f.token = ath.NewToken(tag)
	f.grant.Connection = tag
}

// reads wants that a token leads to these tokens of the user.
func (f *flow) reads(t *testing.T, s *tokenstore.Store, want tokenstore.Connection) {
	t.Helper()
	got, err := s.Read(t.Context(), f.token, f.agent.ID)
	noErr(t, err)
	if got.Connection == nil || !got.Connection.Access.Equal(want.Access.Reveal()) || !got.Connection.Shared() {
		t.Errorf("the token leads to other tokens than those that came last: %+v", got.Connection)
	}
}

// refused is what a provider's refusal of the refresh token leaves.
func (f *flow) refused(t *testing.T, s *tokenstore.Store, at time.Time) {
	t.Helper()
	f.rewrite(t, s, func(c *tokenstore.Connection) {
		c.RefreshStatus.Refused, c.RefreshStatus.RefusedFor = at, "invalid_grant"
	})
}

// ended is what is left where a refresh gave another user's token.
func (f *flow) ended(t *testing.T, s *tokenstore.Store) {
	t.Helper()
	f.rewrite(t, s, func(c *tokenstore.Connection) { c.Ended = true })
}

func (f *flow) rewrite(t *testing.T, s *tokenstore.Store, change func(*tokenstore.Connection)) {
	t.Helper()
	state, err := s.RefreshState(t.Context(), f.grant.Ref())
	noErr(t, err)
	r, err := s.NewRefresh(state, tokenstore.Attempt{Of: ath.DigestOf("r"), Unknown: true})
	noErr(t, err)
	noErr(t, s.BeginRefresh(t.Context(), r, time.Minute))
	next := state.Connection
	change(&next)
	noErr(t, s.FinishRefresh(t.Context(), r, &next, 0))
}

// proves: T-7
func testSharedConnections(t *testing.T, b backend) {
	ctx := t.Context()
	s := b.open(t)
	stores := []*tokenstore.Store{s, s}
	if b.url != tokenstore.Embedded {
		stores[1] = b.open(t)
	}
	t.Run("all agents of a user get what came last", func(t *testing.T) {
		one, two := shared(t, "alice"), shared(t, "alice")
		one.share(t, s, time.Now())
		one.reads(t, stores[1], one.connection)
		two.share(t, stores[1], time.Now())
		if one.token.Tag() != two.token.Tag() {
			t.Error("two connections")
		}
		one.reads(t, s, two.connection)
		two.reads(t, s, two.connection)
	})
	t.Run("and not what came before and is stored later", func(t *testing.T) {
		one, two := shared(t, "ann"), shared(t, "ann")
		before := time.Now().Add(-8 * time.Second)
		two.share(t, s, time.Now().Add(-time.Second))
		one.share(t, stores[1], before)
		one.reads(t, s, two.connection)
		two.reads(t, s, two.connection)
	})
	t.Run("another user, provider or destination is another connection", func(t *testing.T) {
		seen := map[ath.Tag]bool{}
		for _, change := range []func(*tokenstore.Connection){
			func(*tokenstore.Connection) {},
			func(c *tokenstore.Connection) { c.User = "bob2" },
			func(c *tokenstore.Connection) { c.Provider = "shop" },
			func(c *tokenstore.Connection) { c.Destination += "x" },
			func(c *tokenstore.Connection) { c.User, c.Provider = "bobg", "ithub" },
		} {
			f := shared(t, "bob")
			change(&f.connection)
			ref, err := s.ShareConnection(ctx, f.agent.ID, f.connection, f.session.Expires, time.Now(), nil)
			noErr(t, err)
			if seen[ref.Tag] {
				t.Errorf("%s at %s shares with another", f.connection.User, f.connection.Provider)
			}
			seen[ref.Tag] = true
		}
		for _, change := range []func(*tokenstore.Connection){
			func(c *tokenstore.Connection) { c.User = "" },
			func(c *tokenstore.Connection) { c.Provider = "" },
			func(c *tokenstore.Connection) { c.Destination = "" },
			func(c *tokenstore.Connection) { c.Agent = "https://agents.example/" },
		} {
			f := shared(t, "bob")
			change(&f.connection)
			if _, err := s.ShareConnection(ctx, f.agent.ID, f.connection, f.session.Expires, time.Now(), nil); err == nil {
				t.Errorf("%+v is shared", f.connection)
			}
		}
		f := shared(t, "bob")
		if err := s.PutConnection(ctx, ath.NewTag(), f.connection, f.session.Expires); err == nil {
			t.Error("a connection without an agent was stored as one of a consent")
		}
	})
	t.Run("a grant opens only what it says, and of its own user", func(t *testing.T) {
		owner := shared(t, "carol")
		owner.share(t, s, time.Now())
		alone := newFlow(t)
		alone.connection.Destination = owner.connection.Destination
		alone.connection.User, alone.grant.User = "carol", "carol"
		alone.store(t, s)
		for name, change := range map[string]func(*flow){
			"a grant of one consent on a shared connection": func(f *flow) { f.grant.Shared = false },
			"of another user":     func(f *flow) { f.grant.User = "mallory" },
			"of another provider": func(f *flow) { f.grant.Provider = "shop" },
			"a shared grant on one of a consent": func(f *flow) {
				f.on(alone.token.Tag())
				f.agent.ID, f.grant.Agent = alone.agent.ID, alone.agent.ID
			},
		} {
			f := shared(t, "carol")
			f.on(owner.token.Tag())
			change(&f)
			noErr(t, s.PutGrant(ctx, f.token, f.grant))
			for range 2 { // also when the record is decrypted already
				got, err := s.Read(ctx, f.token, f.agent.ID)
				if !errors.Is(err, tokenstore.ErrCorrupt) || got.Connection != nil {
					t.Errorf("%s: %+v, %v", name, got.Connection, err)
				}
				owner.reads(t, s, owner.connection)
			}
			if _, err := s.RefreshState(ctx, f.grant.Ref()); !errors.Is(err, tokenstore.ErrCorrupt) {
				t.Errorf("%s: its token could be refreshed: %v", name, err)
			}
		}
		nobody := owner.grant
		nobody.Agent, nobody.Shared = "", false
		if err := s.PutGrant(ctx, ath.NewToken(owner.token.Tag()), nobody); err == nil {
			t.Error("a grant without an agent was stored")
		}
	})
	t.Run("a refresh of the older tokens replaces nothing", func(t *testing.T) {
		one, two := shared(t, "dave"), shared(t, "dave")
		one.share(t, s, time.Now())
		state, err := s.RefreshState(ctx, one.grant.Ref())
		noErr(t, err)
		r, err := s.NewRefresh(state, tokenstore.Attempt{Of: ath.DigestOf(one.connection.Refresh.Reveal()), Unknown: true})
		noErr(t, err)
		noErr(t, s.BeginRefresh(ctx, r, time.Minute))
		two.share(t, stores[1], time.Now())
		wantErr(t, s.FinishRefresh(ctx, r, withNewTokens(r), 0), tokenstore.ErrChanged)
		one.reads(t, s, two.connection)
		// And the newer ones are refreshed for both.
		noErr(t, s.FailRefresh(ctx, r, nil))
		state, err = s.RefreshState(ctx, two.grant.Ref())
		noErr(t, err)
		r, err = s.NewRefresh(state, tokenstore.Attempt{Of: ath.DigestOf(two.connection.Refresh.Reveal()), Unknown: true})
		noErr(t, err)
		noErr(t, s.BeginRefresh(ctx, r, time.Minute))
		next := withNewTokens(r)
		noErr(t, s.FinishRefresh(ctx, r, next, time.Hour))
		one.reads(t, stores[1], *next)
		two.reads(t, stores[1], *next)
	})
	t.Run("it ends with the last grant, and not before an agent has its token", func(t *testing.T) {
		one, two := shared(t, "erin"), shared(t, "erin")
		one.share(t, s, time.Now())
		ref, err := s.ShareConnection(ctx, two.agent.ID, two.connection, two.session.Expires, time.Now(), nil)
		noErr(t, err)
		two.in(ref)
		revoke := func(f flow) {
			t.Helper()
			held, err := s.Grant(ctx, f.token)
			noErr(t, err)
			noErr(t, s.Revoke(ctx, held, time.Now()))
		}
		revoke(one) // between the other's callback and token
		noErr(t, s.PutGrant(ctx, two.token, two.grant))
		two.reads(t, s, two.connection)
		revoke(two)
		_, err = s.RefreshState(ctx, two.grant.Ref())
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	t.Run("O-2: a consent to another place is not that of the others", func(t *testing.T) {
		one, two := shared(t, "olga"), shared(t, "olga")
		one.connection.Bound, two.connection.Bound = "uw1 r", "uw2 r"
		one.share(t, s, time.Now())
		one.reads(t, s, one.connection)
		for _, agrees := range []bool{true, false} {
			ref, err := s.ShareConnection(ctx, two.agent.ID, two.connection, two.session.Expires, time.Now(), func(there *tokenstore.Connection) bool {
				if there.Bound == "" {
					t.Error("what it is bound to is not read")
				}
				return agrees
			})
			noErr(t, err)
			if ref.Tag != one.grant.Connection || (ref.Epoch == one.grant.Epoch) != agrees {
				t.Errorf("agreed %v: the same tag %v, the same epoch %v", agrees, ref.Tag == one.grant.Connection, ref.Epoch == one.grant.Epoch)
			}
			if agrees {
				one.reads(t, s, two.connection)
			}
		}
		if r, err := s.Read(ctx, one.token, one.agent.ID); err != nil || r.Connection != nil {
			t.Errorf("the grant of before opens %+v, %v", r.Connection, err)
		}
	})
	t.Run("the end of an agent is not that of the others", func(t *testing.T) {
		one, two, waits := shared(t, "erik"), shared(t, "erik"), shared(t, "erik")
		one.share(t, s, time.Now())
		two.share(t, s, time.Now())
		_, err := s.ShareConnection(ctx, waits.agent.ID, two.connection, waits.session.Expires, time.Now(), nil)
		noErr(t, err)
		for _, f := range []flow{one, waits} {
			if n, err := s.EndConnections(ctx, f.agent.ID, time.Now()); err != nil || n != 1 {
				t.Errorf("%d ended, %v", n, err)
			}
		}
		held, err := s.Grant(ctx, one.token)
		if noErr(t, err); held.Value.Revoked.IsZero() {
			t.Error("the agent's grant is not revoked")
		}
		two.reads(t, s, two.connection)
		if n, err := s.EndConnections(ctx, two.agent.ID, time.Now()); err != nil || n != 1 {
			t.Errorf("%d ended, %v", n, err)
		}
		_, err = s.RefreshState(ctx, two.grant.Ref())
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	t.Run("operators see it with its agents, once", func(t *testing.T) {
		var flows []flow
		var agents []string
		for range 3 {
			f := shared(t, "frank")
			f.share(t, s, time.Now())
			flows, agents = append(flows, f), append(agents, f.agent.ID)
		}
		slices.Sort(agents)
		waits := shared(t, "frank")
		_, err := s.ShareConnection(ctx, waits.agent.ID, waits.connection, waits.session.Expires, time.Now(), nil)
		noErr(t, err)
		for _, q := range []tokenstore.ConnectionQuery{{}, {Agent: flows[1].agent.ID}, {User: "frank"}, {User: "frank", Agent: flows[2].agent.ID}} {
			for _, q.Limit = range []int{1, 100} {
				all, corrupt, _ := connections(t, s, q)
				all = slices.DeleteFunc(all, func(c tokenstore.ConnectionInfo) bool { return c.User != "frank" })
				if len(all) != 1 || len(corrupt) > 0 {
					t.Errorf("%+v: %d connections, %d corrupt", q, len(all), len(corrupt))
					continue
				}
				if c := all[0]; !c.Shared || c.Agent != "" || c.Tokens != 3 || !slices.Equal(c.Agents, agents) || c.Tag != flows[0].token.Tag() {
					t.Errorf("%+v: %+v", q, c)
				}
			}
		}
		s.Used(&flows[0].grant, time.Now())
		until(t, "its use is known", func() bool {
			info, err := s.Connection(ctx, flows[0].token.Tag())
			return err == nil && !info.Used.IsZero() && len(info.Agents) == 3
		})
		end, err := s.EndConnection(ctx, flows[0].token.Tag(), time.Now())
		if noErr(t, err); !end.Was {
			t.Error("there was nothing to end")
		}
		for _, f := range flows {
			if held, err := s.Grant(ctx, f.token); err != nil || held.Value.Revoked.IsZero() {
				t.Errorf("a grant is not revoked: %v", err)
			}
		}
	})
	t.Run("callbacks at once choose one, and the last tokens stay", func(t *testing.T) {
		began := time.Now().Add(-6 * time.Second)
		flows := make([]flow, contenders)
		var all sync.WaitGroup
		for i := range flows {
			flows[i] = shared(t, "grace")
			all.Go(func() {
				came := began.Add(time.Duration(i) * 10 * time.Millisecond)
				if i == contenders-1 {
					came = came.Add(3 * time.Second) // more than any call takes
				}
				for {
					ref, err := stores[i%2].ShareConnection(ctx, flows[i].agent.ID, flows[i].connection, flows[i].session.Expires, came, nil)
					if err == nil {
						flows[i].in(ref)
						return
					}
					if !errors.Is(err, tokenstore.ErrChanged) {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		last := flows[contenders-1]
		for _, f := range flows {
			noErr(t, s.PutGrant(ctx, f.token, f.grant))
			f.reads(t, s, last.connection)
		}
	})
	t.Run("whatever happens, nobody gets another user's tokens", func(t *testing.T) {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 0))
		var granted []flow
		for range 300 {
			s := stores[r.IntN(2)]
			switch i := r.IntN(6); {
			case i < 2 || len(granted) == 0:
				f := shared(t, fmt.Sprint("user-", r.IntN(4)))
				f.connection.Provider = []string{"github", "shop"}[r.IntN(2)]
				f.grant.Provider = f.connection.Provider
				f.share(t, s, time.Now().Add(-time.Duration(r.IntN(3000))*time.Millisecond))
				granted = append(granted, f)
			case i == 2:
				if held, err := s.Grant(ctx, granted[r.IntN(len(granted))].token); err == nil {
					noErr(t, s.Revoke(ctx, held, time.Now()))
				}
			case i == 3: // a token of one connection with the grant of another
				f, other := granted[r.IntN(len(granted))], granted[r.IntN(len(granted))]
				f.on(other.token.Tag())
				if err := s.PutGrant(ctx, f.token, f.grant); err == nil {
					granted = append(granted, f)
				}
			default:
				f := granted[r.IntN(len(granted))]
				got, err := s.Read(ctx, f.token, f.agent.ID)
				if err != nil && !errors.Is(err, tokenstore.ErrCorrupt) {
					t.Fatal(err)
				}
				if c := got.Connection; c != nil && (!strings.HasPrefix(c.Access.Reveal(), f.grant.User+" ") || c.User != f.grant.User || c.Provider != f.grant.Provider) {
					t.Fatalf("seed %d: a grant of %s at %s got the tokens of %s at %s", seed, f.grant.User, f.grant.Provider, c.User, c.Provider)
				}
			}
		}
	})
}

// testSharedFromBehind looks at what is stored, and changes it.
func testSharedFromBehind(t *testing.T, b backend) {
	ctx := t.Context()
	t.Run("a record that does not open is not replaced", func(t *testing.T) {
		s := b.open(t)
		f := shared(t, "heidi")
		f.share(t, s, time.Now())
		at := "ath:{" + string(f.token.Tag()) + "}:conn"
		other := shared(t, "ivan")
		other.share(t, s, time.Now())
		copied := b.raw.Get(ctx, "ath:{"+string(other.token.Tag())+"}:conn").Val()
		noErr(t, b.raw.Set(ctx, at, copied, time.Hour).Err())
		_, err := s.Read(ctx, f.token, f.agent.ID)
		wantErr(t, err, tokenstore.ErrCorrupt)
		_, err = s.ShareConnection(ctx, f.agent.ID, f.connection, f.session.Expires, time.Now(), nil)
		wantErr(t, err, tokenstore.ErrCorrupt)
		if b.raw.Get(ctx, at).Val() != copied {
			t.Error("it was replaced")
		}
	})
	t.Run("it lives as long as the last grant", func(t *testing.T) {
		s := b.open(t)
		one, two := shared(t, "judy"), shared(t, "judy")
		one.share(t, s, time.Now())
		_, err := s.ShareConnection(ctx, two.agent.ID, two.connection, two.session.Expires, time.Now(), nil)
		noErr(t, err)
		for _, kind := range []string{"conn", "owner"} {
			if left := b.raw.PTTL(ctx, "ath:{"+string(one.token.Tag())+"}:"+kind).Val(); left < 59*time.Minute {
				t.Errorf("%s goes after %v", kind, left)
			}
		}
	})
	t.Run("grants of before its end do not come back with it", func(t *testing.T) {
		s := b.open(t)
		for name, end := range map[string]func(*flow){
			"an end that was interrupted": func(f *flow) {
				tag := "ath:{" + string(f.token.Tag()) + "}"
				noErr(t, b.raw.Del(ctx, tag+":conn", tag+":owner").Err())
			},
			"refused for a while": func(f *flow) { f.refused(t, s, time.Now().Add(-2*time.Minute)) },
			"of another user":     func(f *flow) { f.ended(t, s) },
		} {
			old, next := shared(t, "ken "+name), shared(t, "ken "+name)
			old.share(t, s, time.Now().Add(-5*time.Second))
			old.reads(t, s, old.connection)
			end(&old)
			next.share(t, s, time.Now().Add(-6*time.Second)) // also where their order is in doubt
			if next.token.Tag() != old.token.Tag() {
				t.Fatalf("%s: another tag", name)
			}
			for range 2 { // also when the record is decrypted already
				next.reads(t, s, next.connection)
				if got, err := s.Read(ctx, old.token, old.agent.ID); err != nil || got.Connection != nil {
					t.Errorf("%s: a grant of before opens it: %v", name, err)
				}
			}
			if _, err := s.RefreshState(ctx, old.grant.Ref()); !errors.Is(err, tokenstore.ErrNotFound) {
				t.Errorf("%s: a grant of before refreshes it: %v", name, err)
			}
			info, err := s.Connection(ctx, next.token.Tag())
			noErr(t, err)
			if _, err := s.RefreshState(ctx, info.Ref()); err != nil || len(info.Agents) != 1 {
				t.Errorf("%s: operators see %v, and cannot refresh it: %v", name, info.Agents, err)
			}
			// Nor do they hold it.
			held, err := s.Grant(ctx, next.token)
			noErr(t, err)
			noErr(t, s.Revoke(ctx, held, time.Now()))
			_, err = s.RefreshState(ctx, next.grant.Ref())
			wantErr(t, err, tokenstore.ErrNotFound)
		}
	})
	t.Run("but what the new consent itself ended goes on", func(t *testing.T) {
		s := b.open(t)
		one, two := shared(t, "leo"), shared(t, "leo")
		one.share(t, s, time.Now())
		one.refused(t, s, time.Now().Add(-5*time.Second))
		two.share(t, s, time.Now())
		one.reads(t, s, two.connection)
	})
	t.Run("a refresh token that ends is used before, and none of before is revoked", func(t *testing.T) {
		s := b.revoking(t, &policy{})
		one, two := shared(t, "mia"), shared(t, "mia")
		two.connection.Created, two.connection.RefreshStatus.RefreshExpires = time.Now(), time.Now().Add(time.Hour)
		one.share(t, s, time.Now())
		held, err := s.Grant(ctx, one.token)
		noErr(t, err)
		noErr(t, s.Revoke(ctx, held, time.Now()))
		queued(t, s, one)
		two.share(t, s, time.Now())
		_, err = s.Revocation(ctx, two.token.Tag())
		wantErr(t, err, tokenstore.ErrNotFound)
		tags, err := s.KeepDue(ctx, tokenstore.KeepEnding, time.Now().Add(time.Hour), 0, 1000)
		if noErr(t, err); !slices.Contains(tags, two.token.Tag()) {
			t.Error("nobody uses it before it ends")
		}
	})
	t.Run("keys name nobody", func(t *testing.T) {
		for key, value := range b.dump(t) {
			if strings.Contains(key+string(value), "judy") {
				t.Errorf("%s tells the user", key)
			}
		}
	})
}

// With another primary key an existing connection is found below the tag of the
// older one.
func TestASharedConnectionIsFoundAfterRotation(t *testing.T) {
	server := miniredis.RunT(t)
	server.RequireAuth("sesame")
	url := "redis://:sesame@" + server.Addr()
	old, both, _ := rotated(t)
	before, after := backend{url: url, keys: old}.open(t), backend{url: url, keys: both}.open(t)
	f, next, fresh := shared(t, "alice"), shared(t, "alice"), shared(t, "bob")
	f.share(t, before, time.Now())
	next.share(t, after, time.Now())
	if next.token.Tag() != f.token.Tag() {
		t.Error("the user has two connections")
	}
	f.reads(t, after, next.connection)
	fresh.share(t, after, time.Now())
	if _, err := before.ShareConnection(t.Context(), fresh.agent.ID, fresh.connection, fresh.session.Expires, time.Now(), nil); err != nil {
		t.Error(err)
	}
	fresh.reads(t, after, fresh.connection)
}

package tokenstore_test

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// A rotation has the keysets of one, in the order in which athd gets them.
type rotation struct {
	before, added, promoted, after *tokenstore.Keyset
	old, fresh                     uint32
}

func newRotation(t *testing.T) rotation {
	t.Helper()
	r := rotation{before: newKeyset(t)}
	r.old = r.before.Primary()
	var err error
	r.added, r.fresh, err = r.before.Add()
	noErr(t, err)
	r.promoted, err = r.added.Promote(r.fresh)
	noErr(t, err)
	r.after, err = r.promoted.Retire(r.old)
	noErr(t, err)
	return r
}

func (b backend) with(t *testing.T, keys *tokenstore.Keyset) *tokenstore.Store {
	t.Helper()
	b.keys = keys
	return b.open(t, func(c *tokenstore.Config) { c.Upstream = queues{} })
}

// A furnished store has records of every kind, and everything that stands below the
// tags of a user.
type furnished struct {
	own, other, begun flow // with one user; begun has a refresh under way that nobody ends
	alone             flow // of another user
	shared            []flow
	left              ath.Tag // of a revocation that waits for the user's other connections
	ended             string  // a user who was ended
	standing          flow    // with a renewal; of one more user
	renewal           ath.RenewalToken
}

const rewrapIssuer = "https://login.example"

// furnish needs an empty store.
func furnish(t *testing.T, s *tokenstore.Store) furnished {
	t.Helper()
	ctx := t.Context()
	_, err := s.Ready(ctx)
	noErr(t, err)
	f := furnished{own: newFlow(t), other: newFlow(t), begun: newFlow(t), alone: newFlow(t), left: ath.NewTag(), ended: "mallory"}
	f.alone.connection.User, f.alone.grant.User = "u2", "u2"
	for _, one := range []flow{f.own, f.other, f.begun, f.alone} {
		one.store(t, s)
	}
	noErr(t, s.BeginRefresh(ctx, newRefresh(t, s, f.begun), time.Millisecond))
	f.standing, f.renewal = consented(t, s)
	noErr(t, s.MarkRetired(ctx, 7)) // of another rotation
	for range 2 {
		one := shared(t, "alice")
		noErr(t, s.CreateAgent(ctx, one.agent))
		one.share(t, s, time.Now())
		f.shared = append(f.shared, one)
	}
	dead := f.own.connection
	_, err = s.HandRevocation(ctx, f.left, &dead)
	noErr(t, err)
	held, err := s.Revocation(ctx, f.left)
	noErr(t, err)
	noErr(t, s.WaitRevocation(ctx, held, time.Now().Add(time.Hour)))
	noErr(t, s.EndUser(ctx, f.ended, nil, time.Now()))
	noErr(t, s.EndUser(ctx, f.ended, []string{"github"}, time.Now()))

	hosts, err := s.HostSuspensions(ctx)
	noErr(t, err)
	pattern, err := ath.ParseHostPattern("evil.example")
	noErr(t, err)
	noErr(t, s.SwapHostSuspensions(ctx, hosts, []tokenstore.HostSuspension{{Hosts: pattern, By: "ops", Since: time.Now()}}))
	issuer, err := s.Issuer(ctx, rewrapIssuer)
	noErr(t, err)
	noErr(t, s.SwapIssuer(ctx, issuer, tokenstore.Issuer{Issuer: rewrapIssuer, Accepted: "{}", First: rewrapIssuer + "/token", Asked: time.Now()}))
	addProvider(t, s, runtimeProvider("shop"))
	tombstone := ath.NewToken(f.own.token.Tag())
	noErr(t, s.PutGrant(ctx, tombstone, f.own.grant))
	grant, err := s.Grant(ctx, tombstone)
	noErr(t, err)
	noErr(t, s.Revoke(ctx, grant, time.Now()))
	return f
}

// works wants that everything which was there is there, and can go on.
func (f furnished) works(t *testing.T, s *tokenstore.Store) {
	t.Helper()
	ctx := t.Context()
	_, err := s.Ready(ctx)
	noErr(t, err)
	added, err := s.RuntimeProvider(ctx, "shop")
	noErr(t, err)
	equal(t, added.Value.Config.Reveal(), runtimeProvider("shop").Config.Reveal())
	for _, one := range []flow{f.own, f.other, f.begun, f.alone} {
		got, err := s.Read(ctx, one.token, one.agent.ID)
		noErr(t, err)
		if got.Grant == nil || got.Agent == nil || got.Connection == nil || !got.Connection.Access.Equal(one.connection.Access.Reveal()) {
			t.Errorf("a decision reads %+v", got)
		}
		held, err := s.Session(ctx, one.sessionID.Tag())
		noErr(t, err)
		equal(t, held.Value, one.session)
		next := held.Value
		next.BadCodes++
		_, err = s.SwapSession(ctx, held, next)
		noErr(t, err)
		agent, err := s.Agent(ctx, ath.AgentTag(one.agent.ID))
		noErr(t, err)
		equal(t, agent.Value, one.agent)
		noErr(t, s.SwapAgent(ctx, agent, agent.Value))
		info, err := s.Connection(ctx, one.token.Tag())
		noErr(t, err)
		if info.Agent != one.agent.ID || info.User != one.grant.User || info.Tokens == 0 {
			t.Errorf("the listing shows %+v", info)
		}
	}
	state, err := s.RefreshState(ctx, refOf(f.begun))
	noErr(t, err)
	if state.Attempt == nil || !state.Attempt.Unknown {
		t.Errorf("of the refresh that nobody ended is known %+v", state.Attempt)
	}
	r := newRefresh(t, s, f.other)
	noErr(t, s.BeginRefresh(ctx, r, time.Minute))
	renewed := r.State.Connection
	renewed.Scopes = append(renewed.Scopes, "more")
	noErr(t, s.FinishRefresh(ctx, r, &renewed, 0))

	token, err := f.standing.renew(t, s, f.renewal, time.Now())
	noErr(t, err)
	if !live(t, s, token, f.standing.agent.ID) {
		t.Error("a renewed token is not good")
	}
	for user, want := range map[string]int{"u1": 4, "u2": 1, "alice": 1} {
		page, err := s.Connections(ctx, tokenstore.ConnectionQuery{User: user, Limit: 10})
		noErr(t, err)
		if len(page.Connections) != want || len(page.Corrupt) > 0 {
			t.Errorf("%s has %d connections, want %d: %+v", user, len(page.Connections), want, page)
		}
	}
	for _, provider := range []string{"github", "shop"} {
		end, err := s.UserEnd(ctx, f.ended, provider)
		noErr(t, err)
		if end.At.IsZero() {
			t.Errorf("the end of a user at %s is forgotten", provider)
		}
	}
	hosts, err := s.HostSuspensions(ctx)
	noErr(t, err)
	issuer, err := s.Issuer(ctx, rewrapIssuer)
	noErr(t, err)
	if len(hosts.Value) != 1 || issuer.Value.First == "" {
		t.Errorf("hosts %+v, issuer %+v", hosts.Value, issuer.Value)
	}
	held, err := s.Revocation(ctx, f.left)
	noErr(t, err)
	if !held.Value.Access.Equal(f.own.connection.Access.Reveal()) {
		t.Error("another token is to be revoked")
	}
	next := shared(t, "alice")
	noErr(t, s.CreateAgent(ctx, next.agent))
	next.share(t, s, time.Now())
	if next.token.Tag() != f.shared[0].token.Tag() {
		t.Error("the next consent makes a second shared connection")
	}
	f.shared[0].reads(t, s, next.connection)

	noErr(t, s.WakeRevocations(ctx, "u1"))
	due, err := s.DueRevocations(ctx, 10)
	noErr(t, err)
	if !slices.ContainsFunc(due, func(e tokenstore.RevocationEntry) bool { return e.Tag == f.left }) {
		t.Errorf("what waited for the user's other connections is not woken: %+v", due)
	}
	_, err = s.EndConnection(ctx, f.own.token.Tag(), time.Now())
	noErr(t, err)
	got, err := s.Read(ctx, f.own.token, f.own.agent.ID)
	noErr(t, err)
	if got.Connection != nil || got.Grant == nil || got.Grant.Revoked.IsZero() {
		t.Errorf("after its end a connection reads %+v", got)
	}
}

// sealedWith are the keys in Redis whose records name a key of a keyset, by kind.
func (b backend) sealedWith(t *testing.T, id uint32) map[string]int {
	t.Helper()
	out := map[string]int{}
	for key, raw := range b.dump(t) {
		if strings.HasPrefix(string(raw), "\x01\x01"+string(binary.BigEndian.AppendUint32(nil, id))) {
			_, kind, _ := strings.Cut(key, "}:")
			kind, _, _ = strings.Cut(kind, ":")
			if key == canaryKey {
				kind = "canary"
			}
			out[kind]++
		}
	}
	return out
}

func uses(t *testing.T, s *tokenstore.Store) *tokenstore.KeyUses {
	t.Helper()
	out, err := s.KeyUses(t.Context())
	noErr(t, err)
	return out
}

func rewrap(t *testing.T, s *tokenstore.Store, how tokenstore.Rewrap) tokenstore.Rewrapped {
	t.Helper()
	how.Rate = 1 << 30
	how.Issuers = []string{rewrapIssuer}
	out, err := s.Rewrap(t.Context(), how)
	noErr(t, err)
	return out
}

func testRewrap(t *testing.T, b backend) {
	r := newRotation(t)
	f := furnish(t, b.with(t, r.added))
	before := b.sealedWith(t, r.old)
	t.Run("what was sealed is of every kind", func(t *testing.T) {
		for _, kind := range append(tokenstore.SealedKinds(), "canary", "retired") {
			if before[kind] == 0 && kind != "shared-at" {
				t.Errorf("there is no %s", kind)
			}
		}
	})
	lease := "ath:{" + string(f.begun.token.Tag()) + "}:lease"
	noErr(t, b.raw.Del(t.Context(), lease).Err()) // whoever had it is gone
	s := b.with(t, r.promoted)
	t.Run("what needs a key is told", func(t *testing.T) {
		got := uses(t, s)
		use := got.Of(r.old)
		if !maps.Equal(use.Records, before) || use.Indexes == 0 || use.Shared != 1 || use.Marks > 0 {
			t.Errorf("the old key is used for %+v, and there are %v", use, before)
		}
		if got.Unused(r.old) || got.Unused(r.fresh) || len(got.Keys) != 2 || len(got.Nameless) > 0 {
			t.Errorf("%+v", got)
		}
		equal(t, uses(t, b.with(t, r.added)).Unused(r.fresh), true)
	})
	lives := b.lives(t)
	var passes int
	done := rewrap(t, s, tokenstore.Rewrap{Progress: func(*tokenstore.Rewrapped) { passes++ }})
	t.Run("every record is sealed with the primary key", func(t *testing.T) {
		if left := b.sealedWith(t, r.old); len(left) > 0 {
			t.Errorf("the old key is left on %v", left)
		}
		if !maps.Equal(done.Records, before) || done.Unopenable > 0 || done.Left > 0 || done.Shared != 1 || passes == 0 {
			t.Errorf("it says %+v, and there were %v", done, before)
		}
		now := b.sealedWith(t, r.fresh)
		delete(now, "shared-at")
		if !maps.Equal(now, before) {
			t.Errorf("there are %v, and were %v", now, before)
		}
	})
	t.Run("for as long as it was", func(t *testing.T) {
		now := b.lives(t)
		for key, was := range lives {
			if left := now[key]; left > was || left < was-time.Minute || was < 0 && left != was {
				t.Errorf("%s ends in %v, not in %v", key, left, was)
			}
		}
	})
	t.Run("the old key is unused", func(t *testing.T) {
		if got := uses(t, s); !got.Unused(r.old) {
			t.Errorf("it is used for %+v", got.Of(r.old))
		}
	})
	t.Run("there is nothing to do again", func(t *testing.T) {
		again := rewrap(t, s, tokenstore.Rewrap{})
		if len(again.Records) > 0 || again.Indexes > 0 || again.Shared > 0 || again.Pass != 1 {
			t.Errorf("%+v", again)
		}
	})
	t.Run("everything works without the old key", func(t *testing.T) { f.works(t, b.with(t, r.after)) })
}

// lives are how long each key has.
func (b backend) lives(t *testing.T) map[string]time.Duration {
	t.Helper()
	out := map[string]time.Duration{}
	for key := range b.dump(t) {
		out[key] = b.raw.PTTL(t.Context(), key).Val()
	}
	return out
}

// A shared connection goes through one rotation after the other, as long as it
// lives: agents hold tokens with its tag.
//
// proves: T-7
func testSharedThroughRotations(t *testing.T, b backend) {
	ctx := t.Context()
	keys := newKeyset(t)
	_, err := b.with(t, keys).Ready(ctx)
	noErr(t, err)
	first := shared(t, "alice")
	first.share(t, b.with(t, keys), time.Now())
	rotate := func() *tokenstore.Store {
		t.Helper()
		old := keys.Primary()
		next, id, err := keys.Add()
		noErr(t, err)
		next, err = next.Promote(id)
		noErr(t, err)
		s := b.with(t, next)
		rewrap(t, s, tokenstore.Rewrap{})
		if got := uses(t, s); !got.Unused(old) {
			t.Errorf("the old key is used for %+v", got.Of(old))
		}
		keys, err = next.Retire(old)
		noErr(t, err)
		return b.with(t, keys)
	}
	places := func() (lasting, ending int) {
		for key, left := range b.lives(t) {
			switch {
			case !strings.HasSuffix(key, ":shared-at"):
			case left < 0:
				lasting++
			default:
				ending++
			}
		}
		return lasting, ending
	}
	for n := range 3 {
		s := rotate()
		next := shared(t, "alice")
		next.share(t, s, time.Now())
		if next.token.Tag() != first.token.Tag() {
			t.Fatalf("after %d rotations a second connection", n+1)
		}
		first.reads(t, s, next.connection)
		if lasting, ending := places(); lasting != 1 || ending != n {
			t.Errorf("after %d rotations %d records lead to it, and %d that end", n+1, lasting, ending)
		}
	}
	s := b.with(t, keys)
	_, err = s.EndConnection(ctx, first.token.Tag(), time.Now())
	noErr(t, err)
	again := shared(t, "alice")
	again.share(t, s, time.Now())
	if again.token.Tag() == first.token.Tag() {
		t.Error("after its end the connection is below the tag of a key that is gone")
	}
	if lasting, _ := places(); lasting != 0 {
		t.Errorf("%d records lead to what has ended", lasting)
	}
	rotate()
	if lasting, _ := places(); lasting != 1 {
		t.Errorf("%d records lead to the new connection", lasting)
	}
	_, err = b.with(t, keys).EndConnection(ctx, again.token.Tag(), time.Now())
	noErr(t, err)
	rewrap(t, b.with(t, keys), tokenstore.Rewrap{})
	if lasting, ending := places(); lasting+ending != 0 {
		t.Errorf("%d records lead to what has ended, and %d for a while", lasting, ending)
	}
}

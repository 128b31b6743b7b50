package tokenstore_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// writers are athd at work, some of which still seal with the old key. Whatever they
// did must be there afterwards, and nothing that they ended.
type writers struct {
	t      *testing.T
	stores []*tokenstore.Store
	stop   context.CancelFunc
	all    sync.WaitGroup
	done   atomic.Int64
}

func (w *writers) start(what string, each func(ctx context.Context, n int, s *tokenstore.Store) error) {
	ctx := w.t.Context()
	stopped, stop := context.WithCancel(ctx)
	before := w.stop
	w.stop = func() { stop(); before() }
	w.all.Go(func() {
		for n := 0; stopped.Err() == nil; n++ {
			if err := each(ctx, n, w.stores[n%len(w.stores)]); err != nil {
				w.t.Errorf("%s, %d: %v", what, n, err)
				return
			}
			w.done.Add(1)
		}
	})
}

// proves: V-4
func testRewrapBesideWriters(t *testing.T, b backend) {
	r := newRotation(t)
	ctx := t.Context()
	older, s := b.with(t, r.added), b.with(t, r.promoted)
	_, err := older.Ready(ctx)
	noErr(t, err)
	w := &writers{t: t, stores: []*tokenstore.Store{s, older}, stop: func() {}}

	// A session is moved on step by step, and each step counts.
	session := newFlow(t)
	session.session.BadCodes = 0
	noErr(t, older.CreateSession(ctx, session.sessionID.Tag(), session.session))
	steps := 0
	w.start("a session", func(ctx context.Context, n int, s *tokenstore.Store) error {
		held, err := s.Session(ctx, session.sessionID.Tag())
		if err != nil {
			return err
		}
		if held.Value.BadCodes != n {
			return fmt.Errorf("of %d steps %d are there", n, held.Value.BadCodes)
		}
		next := held.Value
		next.BadCodes++
		steps = n + 1
		_, err = s.SwapSession(ctx, held, next)
		return err
	})
	// A handshake from its beginning to its end.
	w.start("a handshake", func(ctx context.Context, _ int, s *tokenstore.Store) error {
		f := newFlow(t)
		f.session.Phase = tokenstore.Started
		tag := f.sessionID.Tag()
		if err := s.CreateSession(ctx, tag, f.session); err != nil {
			return err
		}
		for _, phase := range []tokenstore.Phase{tokenstore.Redeeming, tokenstore.Consented, tokenstore.Consumed} {
			held, err := s.Session(ctx, tag)
			if err != nil {
				return err
			}
			next := held.Value
			next.Phase = phase
			if phase == tokenstore.Consented {
				if err := s.PutConnection(ctx, f.token.Tag(), f.connection, f.session.Expires); err != nil {
					return err
				}
			}
			if phase == tokenstore.Consumed {
				if err := s.PutGrant(ctx, f.token, f.grant); err != nil {
					return err
				}
			}
			if _, err = s.SwapSession(ctx, held, next); err != nil {
				return fmt.Errorf("to %s: %w", phase, err)
			}
		}
		return nil
	})
	// An agent is changed by two at once, as they do: read again, and again.
	agent := newFlow(t).agent
	agent.Generation = 0
	noErr(t, older.CreateAgent(ctx, agent))
	var suspensions atomic.Int64
	for range 2 {
		w.start("an agent", func(ctx context.Context, _ int, s *tokenstore.Store) error {
			for {
				held, err := s.Agent(ctx, ath.AgentTag(agent.ID))
				if err != nil {
					return err
				}
				next := held.Value
				next.Generation++
				if err = s.SwapAgent(ctx, held, next); !errors.Is(err, tokenstore.ErrChanged) {
					suspensions.Add(1)
					return err
				}
			}
		})
	}
	// A token is made and revoked, and stays revoked.
	tokens := newFlow(t)
	tokens.store(t, older)
	var mu sync.Mutex
	var revoked []ath.Token
	w.start("a revocation", func(ctx context.Context, _ int, s *tokenstore.Store) error {
		token := ath.NewToken(tokens.token.Tag())
		if err := s.PutGrant(ctx, token, tokens.grant); err != nil {
			return err
		}
		held, err := s.Grant(ctx, token)
		if err != nil {
			return err
		}
		if err := s.Revoke(ctx, held, time.Now()); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		revoked = append(revoked, token)
		return nil
	})
	// A connection is made and ended, and stays ended.
	var ended []flow
	w.start("the end of a connection", func(ctx context.Context, _ int, s *tokenstore.Store) error {
		f := newFlow(t)
		if err := s.PutConnection(ctx, f.token.Tag(), f.connection, f.session.Expires); err != nil {
			return err
		}
		if err := s.PutGrant(ctx, f.token, f.grant); err != nil {
			return err
		}
		if _, err := s.EndConnection(ctx, f.token.Tag(), time.Now()); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		ended = append(ended, f)
		return nil
	})
	// A token is refreshed, and the one that came last is there.
	refreshed, latest := newFlow(t), ""
	refreshed.store(t, older)
	w.start("a refresh", func(ctx context.Context, n int, s *tokenstore.Store) error {
		next := fmt.Sprint("token ", n)
		for {
			state, err := s.RefreshState(ctx, refOf(refreshed))
			if err != nil {
				return err
			}
			if n > 0 && state.Connection.Access.Reveal() != latest {
				return fmt.Errorf("%s is there, and %s came", state.Connection.Access.Reveal(), latest)
			}
			c := state.Connection
			c.Access = ath.NewSecret(next)
			r, err := s.NewRefresh(state, tokenstore.Attempt{Of: ath.DigestOf("r"), Unknown: true})
			if err != nil {
				return err
			}
			if err := s.BeginRefresh(ctx, r, time.Minute); errors.Is(err, tokenstore.ErrChanged) {
				continue
			} else if err != nil {
				return err
			}
			for { // as the vault does
				err := s.FinishRefresh(ctx, r, &c, 0)
				if err == nil {
					latest = next
					return nil
				}
				if !errors.Is(err, tokenstore.ErrChanged) {
					return err
				}
				if state, err = s.RefreshState(ctx, refOf(refreshed)); err != nil {
					return err
				}
				r.Rebase(state)
			}
		}
	})
	// A user's agents consent one after the other, and have one connection.
	together := shared(t, "alice")
	together.share(t, older, time.Now())
	w.start("a shared consent", func(ctx context.Context, _ int, s *tokenstore.Store) error {
		f := shared(t, "alice")
		ref, err := s.ShareConnection(ctx, f.agent.ID, f.connection, f.session.Expires, time.Now(), nil)
		if err == nil && ref.Tag != together.token.Tag() {
			err = errors.New("the user has two connections")
		}
		return err
	})
	// A user is ended at one athd, and the other knows.
	w.start("the end of a user", func(ctx context.Context, n int, s *tokenstore.Store) error {
		user, at := fmt.Sprint("user ", n), time.Now()
		if err := s.EndUser(ctx, user, nil, at); err != nil {
			return err
		}
		for _, s := range w.stores {
			if end, err := s.UserEnd(ctx, user, "github"); err != nil || end.At.UnixMicro() != at.UnixMicro() {
				return fmt.Errorf("it ended at %v: %w", end.At, err)
			}
		}
		return nil
	})
	// What is to be revoked at the provider is taken and given back.
	left := ath.NewTag()
	_, err = older.HandRevocation(ctx, left, &tokens.connection)
	noErr(t, err)
	tries := 0
	w.start("a revocation at the provider", func(ctx context.Context, _ int, s *tokenstore.Store) error {
		held, err := s.Revocation(ctx, left)
		if err != nil {
			return err
		}
		if held, err = s.TakeRevocation(ctx, held); err != nil {
			return err
		}
		tries = held.Value.Tries
		return s.ReturnRevocation(ctx, held, time.Now().Add(time.Hour))
	})

	rewraps := 0
	for end := time.Now().Add(time.Second); time.Now().Before(end) || rewraps < 3; rewraps++ {
		within, cancel := context.WithTimeout(ctx, time.Second/2)
		_, err := s.Rewrap(within, tokenstore.Rewrap{Rate: 1 << 30})
		cancel()
		if err != nil && within.Err() == nil {
			t.Fatal(err)
		}
	}
	w.stop()
	w.all.Wait()
	t.Logf("%d steps beside %d rewraps", w.done.Load(), rewraps)

	rewrap(t, s, tokenstore.Rewrap{})
	if left := b.sealedWith(t, r.old); len(left) > 0 {
		t.Errorf("the old key is left on %v", left)
	}
	if got := uses(t, s); !got.Unused(r.old) {
		t.Errorf("the old key is used for %+v", got.Of(r.old))
	}
	after := b.with(t, r.after)
	held, err := after.Session(ctx, session.sessionID.Tag())
	noErr(t, err)
	equal(t, held.Value.BadCodes, steps)
	a, err := after.Agent(ctx, ath.AgentTag(agent.ID))
	noErr(t, err)
	equal(t, int64(a.Value.Generation), suspensions.Load())
	for _, token := range revoked {
		g, err := after.Grant(ctx, token)
		noErr(t, err)
		if g.Value.Revoked.IsZero() {
			t.Error("a token is good again that was revoked")
		}
	}
	for _, f := range ended {
		got, err := after.Read(ctx, f.token, f.agent.ID)
		noErr(t, err)
		if got.Connection != nil {
			t.Error("a connection is there again that was ended")
		}
	}
	state, err := after.RefreshState(ctx, refOf(refreshed))
	noErr(t, err)
	equal(t, state.Connection.Access.Reveal(), latest)
	queued, err := after.Revocation(ctx, left)
	noErr(t, err)
	equal(t, queued.Value.Tries, tries)
}

// A rewrap that dies in the middle leaves nothing that the next one does not find.
func testRewrapInterrupted(t *testing.T, b backend) {
	r := newRotation(t)
	f := furnish(t, b.with(t, r.added))
	older := b.with(t, r.added)
	for range 150 { // more than one step
		noErr(t, older.CreateAgent(t.Context(), newFlow(t).agent))
	}
	noErr(t, b.raw.Del(t.Context(), "ath:{"+string(f.begun.token.Tag())+"}:lease").Err())
	for steps := 1; ; steps++ {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		_, err := b.with(t, r.promoted).Rewrap(ctx, tokenstore.Rewrap{Rate: 1 << 30, Issuers: []string{rewrapIssuer}, Progress: func(*tokenstore.Rewrapped) {
			if n++; n == steps {
				cancel()
			}
		}})
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) && !errors.Is(err, tokenstore.ErrUnavailable) {
			t.Fatal(err)
		}
		if steps == 1 && len(b.sealedWith(t, r.old)) == 0 {
			t.Fatal("it was not interrupted")
		}
	}
	if left := b.sealedWith(t, r.old); len(left) > 0 {
		t.Errorf("the old key is left on %v", left)
	}
	f.works(t, b.with(t, r.after))
}

// What has no key to open it is named, and stays as it is.
func testRewrapOdd(t *testing.T, b backend) {
	r := newRotation(t)
	ctx := t.Context()
	f := newFlow(t)
	older := b.with(t, r.added)
	_, err := older.Ready(ctx)
	noErr(t, err)
	f.store(t, older)
	issuer, err := older.Issuer(ctx, rewrapIssuer)
	noErr(t, err)
	noErr(t, older.SwapIssuer(ctx, issuer, tokenstore.Issuer{Issuer: rewrapIssuer, Accepted: "{}", First: rewrapIssuer + "/token", Asked: time.Now()}))
	stranger := backend{url: b.url, raw: b.raw, keys: newKeyset(t), change: b.change}
	foreign := newFlow(t)
	noErr(t, stranger.open(t).CreateSession(ctx, foreign.sessionID.Tag(), foreign.session))

	at := func(tag ath.Tag, kind string) string { return "ath:{" + string(tag) + "}:" + kind }
	own := func(key string) string {
		raw, err := b.raw.Get(ctx, key).Result()
		noErr(t, err)
		return raw
	}
	sealed := own(at(f.sessionID.Tag(), "session"))
	old := string(binary.BigEndian.AppendUint32(nil, r.old))
	odd := map[string]string{
		at("copied-agent----", "agent"):      own(at(ath.AgentTag(f.agent.ID), "agent")),
		at("cut-session-----", "session"):    sealed[:20],
		at("newer-kind------", "later"):      "\x01\x01" + old + strings.Repeat("x", 40),
		at("whose-conn------", "conn"):       own(at(f.token.Tag(), "conn")),
		at("other-version---", "agent"):      "\x02" + sealed[1:],
		at("empty-----------", "revocation"): "",
		at("once------------", "jti:0123"):   "SOMETHINGRANDOM",
	}
	for key, raw := range odd {
		noErr(t, b.raw.Set(ctx, key, raw, time.Hour).Err())
	}
	// A kind that is no string.
	noErr(t, b.raw.Do(ctx, "ZADD", at("wrong-type------", "session"), 1, "x").Err())

	s := b.with(t, r.promoted)
	got := uses(t, s)
	if got.Of(r.old).Records["later"] != 1 {
		t.Errorf("what a newer athd has sealed is not counted: %+v", got.Of(r.old))
	}
	if use := got.Of(stranger.keys.Primary()); !use.Missing || use.Records["session"] != 1 {
		t.Errorf("of a key that the keyset lacks is said %+v", use)
	}
	if got.Nameless["agent"] != 1 {
		t.Errorf("without a name are %v", got.Nameless)
	}
	done, err := s.Rewrap(ctx, tokenstore.Rewrap{Rate: 1 << 30}) // no issuer is configured
	noErr(t, err)
	said := map[string]string{}
	for _, u := range done.Unopened {
		said[u.Key] = u.Why
	}
	for key, why := range map[string]string{
		at("copied-agent----", "agent"):                  "no key of the keyset opens it",
		at("cut-session-----", "session"):                "no key of the keyset opens it",
		at("newer-kind------", "later"):                  "this athd does not know its kind",
		at("whose-conn------", "conn"):                   "nobody can tell whose connection it is of",
		at(tokenstore.IssuerTag(rewrapIssuer), "issuer"): "its issuer is not configured",
		at(foreign.sessionID.Tag(), "session"):           "no key of the keyset opens it",
	} {
		if said[key] != why {
			t.Errorf("of %s is said %q, want %q", key, said[key], why)
		}
	}
	for key, raw := range odd {
		if now := b.raw.Get(ctx, key).Val(); now != raw {
			t.Errorf("%s was touched", key)
		}
	}
	if uses(t, s).Unused(r.old) {
		t.Error("the old key is unused, with records that it alone opens")
	}
}

// A mark of a user's end that is below the tag of the old key alone keeps that key,
// for an hour at most.
//
// proves: V-4
func testMarksKeepAKey(t *testing.T, b backend) {
	ctx := t.Context()
	r := newRotation(t)
	old, s := b.with(t, r.before), b.with(t, r.promoted)
	_, err := old.Ready(ctx)
	noErr(t, err)
	noErr(t, old.EndUser(ctx, "mallory", nil, time.Now()))
	rewrap(t, s, tokenstore.Rewrap{})
	got := uses(t, s)
	if got.Unused(r.old) || got.Of(r.old).Marks != 1 || len(got.Of(r.old).Records) > 0 {
		t.Errorf("the old key is used for %+v", got.Of(r.old))
	}
	if left := time.Until(got.MarksUntil); left < 50*time.Minute || left > time.Hour+time.Minute {
		t.Errorf("until in %v", left)
	}
	noErr(t, s.EndUser(ctx, "eve", []string{"github", "shop"}, time.Now())) // below both
	if got := uses(t, s); got.Of(r.old).Marks != 1 {
		t.Errorf("the old key is used for %+v", got.Of(r.old))
	}
	noErr(t, b.with(t, r.added).EndUser(ctx, "bob", nil, time.Now()))
	end, err := b.with(t, r.after).UserEnd(ctx, "bob", "shop")
	noErr(t, err)
	if end.At.IsZero() {
		t.Error("who was ended before the new key sealed is not, when the old one is gone")
	}
	before, err := s.UserEnd(ctx, "eve", "shop")
	noErr(t, err)
	after, err := b.with(t, r.after).UserEnd(ctx, "eve", "shop")
	noErr(t, err)
	if before != after || after.At.IsZero() {
		t.Errorf("with the old key the end is %v, without %v", before, after)
	}
	// Of two ends each athd says the same, whatever its primary key.
	for _, keys := range []*tokenstore.Keyset{r.before, r.after} {
		noErr(t, b.with(t, keys).EndUser(ctx, "trudy", nil, time.Now()))
	}
	one, err := b.with(t, r.added).UserEnd(ctx, "trudy", "shop")
	noErr(t, err)
	two, err := s.UserEnd(ctx, "trudy", "shop")
	noErr(t, err)
	equal(t, one, two)
	for key := range b.dump(t) { // not of these
		if strings.HasSuffix(key, "user-ended") && b.raw.PTTL(ctx, key).Val() > 0 {
			noErr(t, b.raw.Del(ctx, key).Err())
		}
	}
	noErr(t, old.EndUser(ctx, "mallory", nil, time.Now()))
	// One that an older athd made does not say below which key it is.
	for key := range b.dump(t) {
		if strings.HasSuffix(key, "user-ended") {
			noErr(t, b.raw.Set(ctx, key, "1764402000000000 RANDOM", time.Hour).Err())
		}
	}
	if got := uses(t, s); got.Unused(r.old) || got.Marks != 1 || got.Of(r.old).Marks != 0 {
		t.Errorf("marks of nobody knows which key: %+v", got)
	}
}

// Between a rewrap's reading and its writing anything may happen to a record.
//
// proves: V-4
func testRewrapOvertaken(t *testing.T, b backend) {
	ctx := t.Context()
	r := newRotation(t)
	older := b.with(t, r.added)
	_, err := older.Ready(ctx)
	noErr(t, err)
	var mu sync.Mutex
	overtake := func() {}
	b.keys = r.promoted
	s := b.open(t, func(c *tokenstore.Config) {
		c.Observe = func(op string, _ time.Duration, _ error) {
			if mu.Lock(); op == "read_keys" {
				do := overtake
				overtake = func() {}
				mu.Unlock()
				do()
			} else {
				mu.Unlock()
			}
		}
	})
	_, err = s.Ready(ctx)
	noErr(t, err)
	meanwhile := func(do func()) {
		t.Helper()
		mu.Lock()
		overtake = do
		mu.Unlock()
		rewrap(t, s, tokenstore.Rewrap{})
		if mu.Lock(); overtake == nil {
			t.Error("nothing was read")
		}
		mu.Unlock()
	}
	t.Run("what was removed stays away", func(t *testing.T) {
		f := newFlow(t)
		noErr(t, older.CreateAgent(ctx, f.agent))
		held, err := older.Agent(ctx, ath.AgentTag(f.agent.ID))
		noErr(t, err)
		meanwhile(func() { noErr(t, older.RemoveAgent(ctx, held)) })
		_, err = s.Agent(ctx, ath.AgentTag(f.agent.ID))
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	t.Run("what was written stays, also with the old key, until the next pass", func(t *testing.T) {
		f := newFlow(t)
		noErr(t, older.CreateSession(ctx, f.sessionID.Tag(), f.session))
		held, err := older.Session(ctx, f.sessionID.Tag())
		noErr(t, err)
		next := held.Value
		next.BadCodes++
		meanwhile(func() {
			_, err := older.SwapSession(ctx, held, next)
			noErr(t, err)
		})
		held, err = b.with(t, r.after).Session(ctx, f.sessionID.Tag())
		noErr(t, err)
		equal(t, held.Value, next)
	})
	t.Run("a connection that has ended and the note on its refresh", func(t *testing.T) {
		f := newFlow(t)
		f.store(t, older)
		noErr(t, older.BeginRefresh(ctx, newRefresh(t, older, f), time.Millisecond))
		at := "ath:{" + string(f.token.Tag()) + "}:"
		noErr(t, b.raw.Del(ctx, at+"lease").Err())
		meanwhile(func() {
			_, err := older.EndConnection(ctx, f.token.Tag(), time.Now())
			noErr(t, err)
		})
		if b.raw.Exists(ctx, at+"conn").Val()+b.raw.Exists(ctx, at+"owner").Val() != 0 {
			t.Error("it is there again")
		}
		if got := uses(t, s); !got.Unused(r.old) {
			t.Errorf("the old key is used for %+v", got.Of(r.old))
		}
	})
	t.Run("a note on the refresh of a connection that is gone", func(t *testing.T) {
		f := newFlow(t)
		f.store(t, older)
		noErr(t, older.BeginRefresh(ctx, newRefresh(t, older, f), time.Millisecond))
		_, err := older.EndConnection(ctx, f.token.Tag(), time.Now())
		noErr(t, err)
		if done := rewrap(t, s, tokenstore.Rewrap{}); done.Dropped != 1 || done.Unopenable > 0 {
			t.Errorf("%+v", done)
		}
		if got := uses(t, s); !got.Unused(r.old) {
			t.Errorf("the old key is used for %+v", got.Of(r.old))
		}
	})
	t.Run("an entry of a user's index lives for longer", func(t *testing.T) {
		f := newFlow(t)
		f.connection.User, f.grant.User = "late", "late"
		f.store(t, older)
		later := f.grant
		later.Expires = f.grant.Expires.Add(time.Hour)
		meanwhile(func() { noErr(t, older.PutGrant(ctx, ath.NewToken(f.token.Tag()), later)) })
		after := b.open(t, func(c *tokenstore.Config) {
			c.Keyset, c.Now = r.after, func() time.Time { return f.grant.Expires.Add(30 * time.Minute) }
		})
		page, err := after.Connections(ctx, tokenstore.ConnectionQuery{User: "late", Limit: 10})
		noErr(t, err)
		equal(t, len(page.Connections), 1)
	})
}

// Who is in the middle of something is not disturbed: neither an older athd, whose
// swap would fail, nor a refresh that is under way.
func testRewrapWaits(t *testing.T, b backend) {
	ctx := t.Context()
	r := newRotation(t)
	older := b.with(t, r.added)
	_, err := older.Ready(ctx)
	noErr(t, err)
	f := newFlow(t)
	f.session.Phase = tokenstore.Redeeming
	f.store(t, older)
	held, err := older.Session(ctx, f.sessionID.Tag())
	noErr(t, err)
	refresh := newRefresh(t, older, f)
	noErr(t, older.BeginRefresh(ctx, refresh, time.Minute))
	s := b.with(t, r.promoted)

	passes, done := make(chan int, 1), make(chan error, 1)
	go func() {
		defer close(passes)
		got, err := s.Rewrap(ctx, tokenstore.Rewrap{Rate: 1 << 30, Progress: func(p *tokenstore.Rewrapped) {
			select {
			case passes <- p.Pass:
			default:
			}
		}})
		if err == nil && got.Left > 0 {
			err = fmt.Errorf("%d are left", got.Left)
		}
		done <- err
	}()
	for pass := range passes {
		if pass > 2 {
			break
		}
	}
	equal(t, b.sealedWith(t, r.old), map[string]int{"session": 1, "refresh": 1})
	next := held.Value
	next.Phase = tokenstore.Consented
	_, err = older.SwapSession(ctx, held, next)
	noErr(t, err)
	c := refresh.State.Connection
	err = older.FinishRefresh(ctx, refresh, &c, 0)
	for errors.Is(err, tokenstore.ErrChanged) {
		state, again := older.RefreshState(ctx, refOf(f))
		noErr(t, again)
		refresh.Rebase(state)
		err = older.FinishRefresh(ctx, refresh, &c, 0)
	}
	noErr(t, err)
	go func() {
		for range passes {
		}
	}()
	noErr(t, <-done)
	if left := b.sealedWith(t, r.old); len(left) > 0 {
		t.Errorf("the old key is left on %v", left)
	}
	state, err := b.with(t, r.after).RefreshState(ctx, refOf(f))
	noErr(t, err)
	if state.Attempt != nil {
		t.Error("a refresh that was finished counts as one that was not")
	}
}

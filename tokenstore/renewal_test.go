package tokenstore_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

var standingTerms = ath.RenewalTerms{Max: 90 * 24 * time.Hour, Idle: 30 * 24 * time.Hour}

// renewal is a standing consent on the flow's connection.
func (f *flow) renewal() tokenstore.Renewal {
	return tokenstore.Renewal{
		Agent: f.grant.Agent, ClientID: f.grant.ClientID, User: f.grant.User, Provider: f.grant.Provider, ProviderAs: "default", Scopes: f.grant.Scopes,
		Connection: f.token.Tag(), Shared: f.grant.Shared, Epoch: f.grant.Epoch, Terms: standingTerms, Issued: f.grant.Issued, Used: f.grant.Issued,
		Thumbprint: f.grant.Thumbprint, Generation: f.grant.Generation,
	}
}

// standing stores a standing consent with one more grant, which the flow's becomes.
func (f *flow) standing(t testing.TB, s *tokenstore.Store) ath.RenewalToken {
	t.Helper()
	renewal := ath.NewRenewalToken(f.token.Tag())
	f.token = ath.NewToken(f.token.Tag())
	f.grant.Renewal = renewal.Digest()
	if err := s.PutRenewal(t.Context(), renewal, f.renewal(), f.token, f.grant); err != nil {
		t.Fatal(err)
	}
	return renewal
}

// consented is a flow whose connection is kept for a standing consent and its first
// grant.
func consented(t testing.TB, s *tokenstore.Store) (flow, ath.RenewalToken) {
	t.Helper()
	f := newFlow(t)
	for _, err := range []error{s.CreateAgent(t.Context(), f.agent), s.PutConnection(t.Context(), f.token.Tag(), f.connection, f.session.Expires)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	renewal := f.standing(t, s)
	return f, renewal
}

// renew makes one more token of a standing consent.
func (f *flow) renew(t testing.TB, s *tokenstore.Store, renewal ath.RenewalToken, at time.Time) (ath.Token, error) {
	t.Helper()
	held, err := s.Renewal(t.Context(), renewal)
	if err != nil {
		t.Fatal(err)
	}
	g, token := f.grant, ath.NewToken(f.token.Tag())
	g.Renewal, g.Issued, g.Expires = renewal.Digest(), at, at.Add(time.Hour)
	return token, s.Renew(t.Context(), held, standingTerms, token, g)
}

// live reports whether a token works.
func live(t *testing.T, s *tokenstore.Store, token ath.Token, agent string) bool {
	t.Helper()
	r, err := s.Read(t.Context(), token, agent)
	noErr(t, err)
	return r.Grant != nil && r.Grant.Revoked.IsZero() && r.Connection != nil
}

func isEnded(t *testing.T, s *tokenstore.Store, renewal ath.RenewalToken) bool {
	t.Helper()
	held, err := s.Renewal(t.Context(), renewal)
	noErr(t, err)
	return !held.Value.Revoked.IsZero()
}

// proves: T-8
func testRenewals(t *testing.T, b backend) {
	s, ctx := b.open(t), t.Context()
	other := s
	if b.url != tokenstore.Embedded {
		other = b.open(t)
	}
	f, renewal := consented(t, s)

	t.Run("a standing consent comes back as it was put", func(t *testing.T) {
		held, err := s.Renewal(ctx, renewal)
		noErr(t, err)
		equal(t, held.Value, f.renewal())
		grant, err := s.Grant(ctx, f.token)
		noErr(t, err)
		equal(t, grant.Value, f.grant)
	})
	t.Run("another renewal token of the connection is unknown", func(t *testing.T) {
		_, err := s.Renewal(ctx, ath.NewRenewalToken(f.token.Tag()))
		wantErr(t, err, tokenstore.ErrNotFound)
		if _, err := s.Renewal(ctx, ath.RenewalToken{}); err == nil {
			t.Error("the zero token was accepted")
		}
	})
	t.Run("without a connection nothing is stored", func(t *testing.T) {
		g := newFlow(t)
		g.grant.Renewal = ath.DigestOf("none")
		none := ath.NewRenewalToken(g.token.Tag())
		g.grant.Renewal = none.Digest()
		wantErr(t, s.PutRenewal(ctx, none, g.renewal(), g.token, g.grant), tokenstore.ErrNotFound)
		_, err := s.Renewal(ctx, none)
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	t.Run("what does not belong together is not stored", func(t *testing.T) {
		own := ath.NewRenewalToken(f.token.Tag())
		g := f.grant
		g.Renewal = own.Digest()
		for name, put := range map[string]func() error{
			"a grant of no renewal": func() error {
				return s.PutRenewal(ctx, own, f.renewal(), ath.NewToken(f.token.Tag()), newFlow(t).grant)
			},
			"a grant of another renewal":   func() error { return s.PutRenewal(ctx, own, f.renewal(), ath.NewToken(f.token.Tag()), f.grant) },
			"a grant alone that names one": func() error { return s.PutGrant(ctx, ath.NewToken(f.token.Tag()), g) },
			"another connection's token": func() error {
				return s.PutRenewal(ctx, ath.NewRenewalToken(ath.NewTag()), f.renewal(), ath.NewToken(f.token.Tag()), g)
			},
			"no terms": func() error {
				r := f.renewal()
				r.Terms = ath.RenewalTerms{}
				return s.PutRenewal(ctx, own, r, ath.NewToken(f.token.Tag()), g)
			},
			"another agent's grant": func() error {
				r := f.renewal()
				r.Agent = "https://other.example/"
				return s.PutRenewal(ctx, own, r, ath.NewToken(f.token.Tag()), g)
			},
			"nothing that was read": func() error {
				return s.Renew(ctx, tokenstore.Held[tokenstore.Renewal]{}, standingTerms, ath.NewToken(f.token.Tag()), g)
			},
		} {
			if err := put(); err == nil {
				t.Errorf("%s is stored", name)
			}
		}
		_, err := s.Renewal(ctx, own)
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	t.Run("each use gives a token that works, and the renewal stays", func(t *testing.T) {
		for range 3 {
			token, err := f.renew(t, other, renewal, time.Now().UTC())
			noErr(t, err)
			if !live(t, s, token, f.agent.ID) {
				t.Error("the token does not work")
			}
		}
		if !live(t, s, f.token, f.agent.ID) || isEnded(t, s, renewal) {
			t.Error("the first token or the renewal has ended")
		}
	})
	t.Run("a use is written down when it is worth it, and not earlier", func(t *testing.T) {
		for after, written := range map[time.Duration]bool{time.Minute: false, 20 * time.Hour: false, 23 * time.Hour: true} {
			f, renewal := consented(t, s)
			at := f.grant.Issued.Add(after)
			_, err := f.renew(t, s, renewal, at)
			noErr(t, err)
			held, err := s.Renewal(ctx, renewal)
			noErr(t, err)
			if held.Value.Used.Equal(at) != written {
				t.Errorf("after %v used is %v later", after, held.Value.Used.Sub(f.grant.Issued))
			}
		}
	})
	t.Run("of uses at once all succeed who read again", func(t *testing.T) {
		f, renewal := consented(t, s)
		at := f.grant.Issued.Add(48 * time.Hour)
		var all sync.WaitGroup
		for i := range 16 {
			store := []*tokenstore.Store{s, other}[i%2]
			all.Go(func() {
				for round := range 3 {
					token := ath.NewToken(f.token.Tag())
					g := f.grant
					g.Issued, g.Expires = at, at.Add(time.Hour)
					held, err := store.Renewal(ctx, renewal)
					if err == nil {
						err = store.Renew(ctx, held, standingTerms, token, g)
					}
					if err == nil {
						return
					}
					if round == 2 {
						t.Errorf("it is changed each time: %v", err)
					}
				}
			})
		}
		all.Wait()
	})
	t.Run("T-4: a loser's renewal goes with its grant, the winner's stays", func(t *testing.T) {
		f, renewal := consented(t, s)
		winner := f.token
		loser := f.standing(t, s)
		noErr(t, s.DeleteRenewal(ctx, loser, f.token))
		_, err := s.Renewal(ctx, loser)
		wantErr(t, err, tokenstore.ErrNotFound)
		_, err = s.Grant(ctx, f.token)
		wantErr(t, err, tokenstore.ErrNotFound)
		if !live(t, s, winner, f.agent.ID) || isEnded(t, s, renewal) {
			t.Error("the winner lost something")
		}
		held, err := s.Renewal(ctx, renewal)
		noErr(t, err)
		noErr(t, s.EndRenewal(ctx, held, time.Now()))
		_, err = s.Connection(ctx, f.token.Tag())
		wantErr(t, err, tokenstore.ErrNotFound) // what was taken back keeps nothing
	})
	t.Run("it is listed with its connection", func(t *testing.T) {
		info, err := s.Connection(ctx, f.token.Tag())
		noErr(t, err)
		if end := f.grant.Issued.Add(standingTerms.Idle); info.Renewals != 1 || !info.RenewableUntil.Equal(end) || info.Tokens != 4 || !info.Waits(true) {
			t.Errorf("%+v", info)
		}
		held, err := s.Renewal(ctx, renewal)
		noErr(t, err)
		equal(t, info.Standing, []tokenstore.Renewal{held.Value})
	})
}

// proves: T-8, V-5, V-6
func testRenewalEnds(t *testing.T, b backend) {
	p := &policy{}
	s, ctx := b.revoking(t, p), t.Context()
	other := s
	if b.url != tokenstore.Embedded {
		other = b.revoking(t, p)
	}
	now := time.Now().UTC()
	held := func(t *testing.T, renewal ath.RenewalToken) tokenstore.Held[tokenstore.Renewal] {
		t.Helper()
		held, err := s.Renewal(ctx, renewal)
		noErr(t, err)
		return held
	}
	t.Run("its end takes all of its tokens along, the connection, and the grant at the provider", func(t *testing.T) {
		f, renewal := consented(t, s)
		second, err := f.renew(t, s, renewal, now)
		noErr(t, err)
		noErr(t, other.EndRenewal(ctx, held(t, renewal), now))
		if live(t, s, f.token, f.agent.ID) || live(t, s, second, f.agent.ID) || !isEnded(t, s, renewal) {
			t.Error("something lives on")
		}
		for _, token := range []ath.Token{f.token, second} {
			if g, err := s.Grant(ctx, token); err != nil || g.Value.Revoked.IsZero() {
				t.Errorf("there is no tombstone: %+v, %v", g.Value, err)
			}
		}
		_, err = s.Connection(ctx, f.token.Tag())
		wantErr(t, err, tokenstore.ErrNotFound)
		queued(t, s, f)
		noErr(t, s.EndRenewal(ctx, held(t, renewal), now)) // again
	})
	t.Run("other tokens of the connection stay, and keep it", func(t *testing.T) {
		f, renewal := consented(t, s)
		own := f.grant
		own.Renewal = ath.Digest{}
		apart := ath.NewToken(f.token.Tag())
		noErr(t, s.PutGrant(ctx, apart, own))
		noErr(t, s.EndRenewal(ctx, held(t, renewal), now))
		if live(t, s, f.token, f.agent.ID) || !live(t, s, apart, f.agent.ID) {
			t.Error("the wrong tokens ended")
		}
	})
	t.Run("the end of a token is that of the renewal, and not of its other tokens", func(t *testing.T) {
		f, renewal := consented(t, s)
		second, err := f.renew(t, s, renewal, now)
		noErr(t, err)
		g, err := s.Grant(ctx, second)
		noErr(t, err)
		noErr(t, other.Revoke(ctx, g, now))
		if !isEnded(t, s, renewal) || live(t, s, second, f.agent.ID) || !live(t, s, f.token, f.agent.ID) {
			t.Error("the wrong ones ended")
		}
		g, err = s.Grant(ctx, f.token)
		noErr(t, err)
		noErr(t, s.Revoke(ctx, g, now))
		_, err = s.Connection(ctx, f.token.Tag())
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	t.Run("V-5: the last token does not take the connection along while a renewal lives", func(t *testing.T) {
		f, renewal := consented(t, s)
		own := f.grant
		own.Renewal = ath.Digest{}
		apart := ath.NewToken(f.token.Tag())
		noErr(t, s.PutGrant(ctx, apart, own))
		noErr(t, s.DeleteGrant(ctx, f.token)) // as if it had expired
		g, err := s.Grant(ctx, apart)
		noErr(t, err)
		noErr(t, s.Revoke(ctx, g, now))
		token, err := f.renew(t, other, renewal, now)
		noErr(t, err)
		if !live(t, s, token, f.agent.ID) {
			t.Error("the connection ended with its last token")
		}
		if _, err := s.Revocation(ctx, f.token.Tag()); err == nil {
			t.Error("it is revoked at the provider")
		}
	})
	t.Run("V-6: none is made of one that has ended, however old the reading", func(t *testing.T) {
		f, renewal := consented(t, s)
		apart := f.grant
		apart.Renewal = ath.Digest{}
		noErr(t, s.PutGrant(ctx, ath.NewToken(f.token.Tag()), apart)) // keeps the connection
		before := held(t, renewal)
		noErr(t, other.EndRenewal(ctx, before, now))
		wantErr(t, s.Renew(ctx, before, standingTerms, ath.NewToken(f.token.Tag()), f.grant), tokenstore.ErrChanged)
	})
	t.Run("one that was used meanwhile ends all the same", func(t *testing.T) {
		f, renewal := consented(t, s)
		before := held(t, renewal)
		token, err := f.renew(t, other, renewal, now.Add(48*time.Hour))
		noErr(t, err)
		noErr(t, s.EndRenewal(ctx, before, now))
		if !isEnded(t, s, renewal) || live(t, s, token, f.agent.ID) {
			t.Error("it lives")
		}
	})
	t.Run("V-6: it ends with its connection", func(t *testing.T) {
		f, renewal := consented(t, s)
		end, err := other.EndConnection(ctx, f.token.Tag(), now)
		noErr(t, err)
		if !end.Was || end.Upstream != tokenstore.UpstreamQueued || !isEnded(t, s, renewal) {
			t.Errorf("%+v", end)
		}
		_, err = f.renew(t, s, renewal, now)
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	t.Run("it ends with its agent's connections", func(t *testing.T) {
		f, renewal := consented(t, s)
		noErr(t, s.DeleteGrant(ctx, f.token))
		n, err := other.EndConnections(ctx, f.agent.ID, now)
		noErr(t, err)
		if n != 1 || !isEnded(t, s, renewal) {
			t.Errorf("%d ended", n)
		}
	})
	t.Run("of a shared connection one agent's ends, and the other's stays", func(t *testing.T) {
		user := "user " + string(ath.NewTag())
		one, two := shared(t, user), shared(t, user)
		one.share(t, s, time.Now())
		first := one.standing(t, s)
		two.share(t, other, time.Now())
		second := two.standing(t, other)
		noErr(t, s.DeleteGrant(ctx, two.token))
		info, err := s.Connection(ctx, one.token.Tag())
		noErr(t, err)
		if want := []string{one.agent.ID, two.agent.ID}; info.Renewals != 2 || len(info.Agents) != 2 || !slices.Contains(want, info.Agents[0]) {
			t.Errorf("%+v", info)
		}
		n, err := other.EndConnections(ctx, one.agent.ID, now)
		noErr(t, err)
		if n != 1 || !isEnded(t, s, first) || isEnded(t, s, second) || live(t, s, one.token, one.agent.ID) {
			t.Errorf("%d ended, or the wrong ones", n)
		}
		token, err := two.renew(t, s, second, now)
		noErr(t, err)
		if !live(t, s, token, two.agent.ID) {
			t.Error("the other agent's renewal gives nothing")
		}
		noErr(t, s.EndRenewal(ctx, held(t, second), now))
		if _, err := s.Connection(ctx, one.token.Tag()); err == nil {
			// Its other grant, from before the renewal, keeps it.
			_, err = other.EndConnections(ctx, two.agent.ID, now)
			noErr(t, err)
		}
		_, err = s.Connection(ctx, one.token.Tag())
		wantErr(t, err, tokenstore.ErrNotFound)
	})
	t.Run("other athd hear of it", func(t *testing.T) {
		notified(t, other)
		w := other.Watch()
		defer w.Close()
		f, renewal := consented(t, s)
		noErr(t, s.EndRenewal(ctx, held(t, renewal), now))
		awaitChange(t, w, tokenstore.RenewalEnded, f.token.Tag(), renewal.Digest())
	})
}

// testRenewalsFromBehind looks at how long things stay, and at what is stored.
func testRenewalsFromBehind(t *testing.T, b backend) {
	s, ctx := b.open(t), t.Context()
	f, renewal := consented(t, s)
	tag := string(f.token.Tag())
	at := func(rest string) string { return "ath:{" + tag + "}:" + rest }
	keys := map[string]time.Duration{
		at("renewal:" + renewal.Digest().String()): standingTerms.Idle + 24*time.Hour, at("conn"): standingTerms.Idle, at("owner"): standingTerms.Idle,
		at("grants"): standingTerms.Idle + 24*time.Hour,
		"ath:{" + string(ath.AgentTag(f.agent.ID)) + "}:conns": standingTerms.Idle, endsWith(t, b.dump(t), ":user-conns"): standingTerms.Idle,
	}
	stay := func(t *testing.T, later time.Duration) {
		t.Helper()
		for key, want := range keys {
			if left := b.raw.PTTL(ctx, key).Val(); left < want+later-time.Minute || left > want+later+10*time.Minute {
				t.Errorf("%s goes after %v, want %v", key, left, want+later)
			}
		}
	}
	t.Run("all stays as long as it may be used", func(t *testing.T) { stay(t, 0) })
	t.Run("and longer as it is used, which leaves no grants behind that are over", func(t *testing.T) {
		over := redis.Z{Score: float64(time.Now().Add(-time.Hour).UnixMilli()), Member: ath.DigestOf("over").String()}
		noErr(t, b.raw.ZAdd(ctx, at("grants"), over).Err())
		_, err := f.renew(t, s, renewal, f.grant.Issued.Add(48*time.Hour))
		noErr(t, err)
		stay(t, 48*time.Hour)
		if members := b.raw.ZRange(ctx, at("grants"), 0, -1).Val(); len(members) != 3 || slices.Contains(members, over.Member.(string)) {
			t.Errorf("%q", members)
		}
	})
	t.Run("what holds today keeps a connection for less, and the renewal can be found for as long", func(t *testing.T) {
		f, renewal := consented(t, s)
		tag := "ath:{" + string(f.token.Tag()) + "}:"
		noErr(t, b.raw.PExpire(ctx, tag+"conn", time.Minute).Err())
		held, err := s.Renewal(ctx, renewal)
		noErr(t, err)
		g, today := f.grant, ath.RenewalTerms{Max: 24 * time.Hour, Idle: 2 * time.Hour}
		g.Issued = g.Issued.Add(10 * time.Minute)
		noErr(t, s.Renew(ctx, held, today, ath.NewToken(f.token.Tag()), g))
		if left := b.raw.PTTL(ctx, tag+"conn").Val(); left > 3*time.Hour || left < time.Hour {
			t.Errorf("the connection goes after %v", left)
		}
		member := "hold:renewal:" + renewal.Digest().String()
		if score := b.raw.ZScore(ctx, tag+"grants", member).Val(); int64(score) != g.Issued.Add(standingTerms.Idle).UnixMilli() {
			t.Errorf("until %.0f, want %v", score, g.Issued.Add(standingTerms.Idle))
		}
		conns := "ath:{" + string(ath.AgentTag(f.agent.ID)) + "}:conns"
		if score := b.raw.ZScore(ctx, conns, string(f.token.Tag())).Val(); int64(score) < g.Issued.Add(standingTerms.Idle).UnixMilli() {
			t.Errorf("the agent's connection is found until %.0f", score)
		}
	})
	t.Run("the token is not stored", func(t *testing.T) {
		for key, value := range b.dump(t) {
			if strings.Contains(key+string(value), renewal.Secret().Reveal()) {
				t.Errorf("%s holds it", key)
			}
		}
	})
}

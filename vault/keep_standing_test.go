package vault_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

var ninetyDays = ath.RenewalTerms{Max: 90 * 24 * time.Hour, Idle: 30 * 24 * time.Hour}

// since is a connection that came now.
func since(c *tokenstore.Connection) { c.Created = time.Now() }

// standing lets a connection stand by a renewal of an agent's (T-8).
func (w *world) standing(c call, terms ath.RenewalTerms) ath.RenewalToken {
	w.t.Helper()
	renewal, now := ath.NewRenewalToken(c.ref.Tag), time.Now()
	r := tokenstore.Renewal{
		Agent: agentID, ClientID: w.agent.ClientID, User: c.ref.User, Provider: "shop", Scopes: c.first.Scopes, Connection: c.ref.Tag,
		Terms: terms, Issued: now, Used: now,
	}
	g := tokenstore.Grant{
		Agent: agentID, ClientID: w.agent.ClientID, User: c.ref.User, Provider: "shop", Scopes: c.first.Scopes, Connection: c.ref.Tag,
		Issued: now, Expires: now.Add(time.Second), Renewal: renewal.Digest(),
	}
	if err := w.replicas[0].store.PutRenewal(context.Background(), renewal, r, ath.NewToken(c.ref.Tag), g); err != nil {
		w.t.Fatal(err)
	}
	return renewal
}

func standingAt(idle string) map[string]any {
	return map[string]any{"renewal": map[string]any{"max": "90d", "idle": "30d"}, "refresh_idle": idle}
}

// A server ends refresh tokens that nobody uses, and does not say so. An agent that is
// silent for weeks, and may come back without the user, finds its grant alive.
//
// proves: T-8
func TestAStandingConsentsRefreshTokenIsUsedBeforeItEndsUnused(t *testing.T) {
	w := newWorld(t, 3, tokenstore.Config{URL: realredis.Start(t).URL()}, standingAt("3s"), often)
	w.keepAlive(w.replicas...)
	c := w.connect(10*time.Hour, since)
	w.standing(c, ninetyDays)
	began := time.Now()
	until(t, "it is used twice, by nobody's call", 15*time.Second, func() bool { return w.endpoint.Calls() >= 2 })
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("it is used twice within %v: each time, it lived for 3 s", took)
	}
	if l := w.endpoint.of(c.first.Refresh.Reveal()); l.dead || l.most != 1 {
		t.Errorf("the provider's grant is dead: %v; %d calls at the same time", l.dead, l.most)
	}
	if d := w.replicas[1].ask(c); !d.Allowed() {
		t.Errorf("the agent is back: %s", d.Reason())
	}
}

// Where nobody said how long an unused refresh token lives it is used within days.
func TestAStandingConsentIsKeptByAServerOfWhichNothingIsKnown(t *testing.T) {
	more := standingAt("")
	delete(more, "refresh_idle")
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, more, often)
	r := w.replicas[0]
	c := w.connect(10*time.Hour, since)
	w.standing(c, ninetyDays)
	w.keepAlive(r)
	r.later(2 * 24 * time.Hour)
	steady(t, "it is not used after two days", time.Second, func() bool { return w.endpoint.Calls() == 0 })
	r.later(4 * 24 * time.Hour)
	until(t, "it is used before the fourth", 10*time.Second, func() bool { return w.renewed(c) })
}

func TestRefreshTokensOfWhatDoesNotStandAreLeftAlone(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, standingAt("2s"), often)
	r := w.replicas[0]
	token := w.connect(10*time.Hour, since) // an agent's token lives, and nothing renews it
	ended := w.connect(10*time.Hour, since)
	renewal := w.standing(ended, ninetyDays)
	over := w.connect(10*time.Hour, since)
	w.standing(over, ath.RenewalTerms{Max: time.Second, Idle: time.Second})
	refused := w.connect(10*time.Hour, since, func(c *tokenstore.Connection) { c.RefreshStatus.Refused = time.Now() })
	w.standing(refused, ninetyDays)
	elsewhere := w.connect(10*time.Hour, since, func(c *tokenstore.Connection) { c.Destination = "elsewhere" })
	w.standing(elsewhere, ninetyDays)
	endless := w.connect(0, since, func(c *tokenstore.Connection) { c.Expires = time.Time{} })
	w.standing(endless, ninetyDays)
	held, err := r.store.Renewal(t.Context(), renewal)
	if err == nil {
		err = r.store.EndRenewal(t.Context(), held, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	made := time.Now()
	until(t, "the short renewal is over", 5*time.Second, func() bool { return time.Since(made) > 1100*time.Millisecond })
	w.keepAlive(r)
	live := w.connect(10*time.Hour, since)
	w.standing(live, ninetyDays) // due after all of them
	until(t, "the one that stands is used", 10*time.Second, func() bool { return w.renewed(live) })
	for name, c := range map[string]call{
		"no renewal": token, "its renewal was revoked": ended, "its renewal is over": over, "the provider refused": refused,
		"the provider is another one": elsewhere, "the access token does not end": endless,
	} {
		if l := w.endpoint.of(c.first.Refresh.Reveal()); l.calls != 0 {
			t.Errorf("%s: %d calls", name, l.calls)
		}
	}
}

// proves: T-8
func TestWhereNothingStandsAnyMoreNothingIsKept(t *testing.T) {
	for name, more := range map[string]map[string]any{
		"the server ends none": standingAt("never"),
		"renewal is off":       {"renewal": "off", "refresh_idle": "1s"},
		"refresh is off":       {"renewal": map[string]any{"max": "90d", "idle": "30d"}, "refresh_idle": "1s", "refresh": false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, tokenstore.Config{URL: tokenstore.Embedded}, more, often)
			w.standing(w.connect(10*time.Hour, since), ninetyDays)
			w.keepAlive(w.replicas[0])
			steady(t, "nobody calls the provider", 1500*time.Millisecond, func() bool { return w.endpoint.Calls() == 0 })
		})
	}
}

// After days without athd all refresh tokens are due at once. Those that can wait do.
func TestWhatCouldWaitIsUsedBitByBit(t *testing.T) {
	const many, bit = 330, 300
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	w := newWorld(t, 1, tokenstore.Config{URL: tokenstore.Embedded, Now: now}, standingAt("7d"), func(c *vault.Config) {
		often(c)
		c.Now = now
	})
	r := w.replicas[0]
	var all []call
	for range many {
		c := w.connect(10*time.Hour, since)
		w.standing(c, ninetyDays)
		all = append(all, c)
	}
	ahead.Store(int64(4 * 24 * time.Hour))
	w.keepAlive(r)
	until(t, "the first are used", 20*time.Second, func() bool { return w.endpoint.Calls() >= bit })
	steady(t, "no more than those", time.Second, func() bool { return w.endpoint.Calls() == bit })
	ahead.Add(int64(11 * time.Minute))
	until(t, "all are", 10*time.Second, func() bool { return w.endpoint.Calls() >= many })
	for _, c := range all {
		if l := w.endpoint.of(c.first.Refresh.Reveal()); l.dead || l.calls != 1 {
			t.Fatalf("dead: %v, %d calls", l.dead, l.calls)
		}
	}
	if w.endpoint.AtOnce() > 64 {
		t.Errorf("%d calls at once", w.endpoint.AtOnce())
	}
}

// Two of what stands are not used at the same time, and each at the same one by every
// athd.
func TestStandingConsentsAreSpread(t *testing.T) {
	const limit = 6 * time.Hour
	seen := map[time.Duration]bool{}
	for range 100 {
		tag := ath.NewTag()
		after := vault.KeepAfter(tag, limit)
		if after < limit/3 || after > limit/2 || after != vault.KeepAfter(tag, limit) {
			t.Fatal(fmt.Sprint(after))
		}
		seen[after.Truncate(time.Minute)] = true
	}
	if len(seen) < 25 {
		t.Errorf("100 connections at %d different minutes of an hour", len(seen))
	}
}

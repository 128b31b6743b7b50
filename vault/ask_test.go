package vault_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

func (r *replica) askFor(w *world, c call) vault.Report {
	return r.vault.Ask(context.Background(), w.provider, c.ref)
}

func (r *replica) later(d time.Duration) { r.ahead.Add(int64(d)) }

// However many operators ask at however many athd, there is one call.
func TestAnOperatorsRefreshIsOneCallAsAnyOther(t *testing.T) {
	w := newWorld(t, 3, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	w.endpoint.Answers(func(int, http.ResponseWriter, *http.Request) bool { time.Sleep(200 * time.Millisecond); return false })
	c := w.connect(time.Hour) // nobody else would refresh it now
	var mu sync.Mutex
	outcomes := map[vault.Outcome]int{}
	var all sync.WaitGroup
	for _, r := range w.replicas {
		for range 20 {
			all.Go(func() {
				got := r.askFor(w, c)
				mu.Lock()
				outcomes[got.Outcome]++
				mu.Unlock()
			})
		}
	}
	all.Wait()
	if n := w.endpoint.Calls(); n != 1 || !w.renewed(c) {
		t.Errorf("%d calls, refreshed: %v", n, w.renewed(c))
	}
	if outcomes[vault.Refreshed] != 20 || outcomes[vault.Refreshed]+outcomes[vault.Fresh]+outcomes[vault.UnderWay] != 60 {
		t.Errorf("%v", outcomes)
	}
	w.endpoint.Answers(nil)
	for range 5 {
		if got := w.replicas[0].askFor(w, c); got.Outcome != vault.Fresh || got.Connection.Expires.IsZero() {
			t.Errorf("right after: %v", got.Outcome)
		}
	}
	if n := w.endpoint.Calls(); n != 1 {
		t.Errorf("an operator who hammers causes %d calls", n)
	}
	w.replicas[0].later(11 * time.Second)
	if got := w.replicas[0].askFor(w, c); got.Outcome != vault.Refreshed {
		t.Errorf("after a while: %v", got.Outcome)
	}
}

// A disabled user comes back: what was refused is tried for as long as it is kept,
// and an operator's tries leave the agent's own one.
//
// proves: P-6
func TestAnOperatorTriesARefusedTokenAgain(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	r := w.replicas[0]
	c := w.connect(-time.Second)
	w.endpoint.Answers(says(400, `{"error":"invalid_grant"}`))
	if d := r.ask(c); d.Reason() != authz.ReauthorizationRequired {
		t.Fatal(d.Reason())
	}
	if got := r.askFor(w, c); got.Outcome != vault.RefusedNow || got.Again <= 0 || got.Connection.RefreshStatus.RefusedFor != "invalid_grant" {
		t.Errorf("at once: %v, again in %v", got.Outcome, got.Again)
	}
	if n := w.endpoint.Calls(); n != 1 {
		t.Errorf("%d calls", n)
	}
	for range 3 {
		r.later(11 * time.Second)
		if got := r.askFor(w, c); got.Outcome != vault.RefusedNow {
			t.Errorf("it is refused still: %v", got.Outcome)
		}
	}
	if n := w.endpoint.Calls(); n != 4 {
		t.Errorf("%d calls", n)
	}
	if w.stored(c).RefreshStatus.TriedAgain {
		t.Error("an operator's try has used up the agent's")
	}
	w.endpoint.Answers(nil)
	r.later(11 * time.Second)
	if got := r.askFor(w, c); got.Outcome != vault.Refreshed {
		t.Errorf("the user is back: %v", got.Outcome)
	}
	if d := r.ask(c); !d.Allowed() {
		t.Errorf("the agent's call: %s", d.Reason())
	}
}

// However often an operator tries, the refused token goes a day after the refusal.
func TestAnOperatorsTriesKeepARefusedTokenNoLonger(t *testing.T) {
	redis := realredis.Start(t)
	w := newWorld(t, 1, tokenstore.Config{URL: redis.URL()}, nil, nil)
	r := w.replicas[0]
	c := w.connect(-time.Second)
	w.endpoint.Answers(says(400, `{"error":"invalid_grant"}`))
	r.ask(c)
	key := "ath:{" + string(c.ref.Tag) + "}:conn"
	redis.Client().PExpire(context.Background(), key, 5*time.Hour) // nineteen hours later
	r.later(11 * time.Second)
	if got := r.askFor(w, c); got.Outcome != vault.RefusedNow || w.endpoint.Calls() != 2 {
		t.Fatalf("%v after %d calls", got.Outcome, w.endpoint.Calls())
	}
	if left := redis.Client().PTTL(context.Background(), key).Val(); left > 5*time.Hour || left < 4*time.Hour {
		t.Errorf("it is kept for %v", left)
	}
}

func TestAnOperatorIsToldWhatCameOfIt(t *testing.T) {
	redis := realredis.Start(t)
	w := newWorld(t, 2, tokenstore.Config{URL: redis.URL()}, nil, nil)
	r := w.replicas[0]
	t.Run("no refresh token", func(t *testing.T) {
		c := w.connect(time.Hour, func(c *tokenstore.Connection) { c.Refresh = ath.Secret{} })
		if got := r.askFor(w, c); got.Outcome != vault.NotRefreshable {
			t.Error(got.Outcome)
		}
	})
	t.Run("another destination", func(t *testing.T) {
		c := w.connect(time.Hour, func(c *tokenstore.Connection) { c.Destination = "elsewhere" })
		if got := r.askFor(w, c); got.Outcome != vault.NotRefreshable {
			t.Error(got.Outcome)
		}
	})
	t.Run("it has ended", func(t *testing.T) {
		c := w.connect(time.Hour)
		if _, err := r.store.EndConnection(t.Context(), c.ref.Tag, time.Now()); err != nil {
			t.Fatal(err)
		}
		if got := r.askFor(w, c); got.Outcome != vault.Gone {
			t.Error(got.Outcome)
		}
	})
	if n := w.endpoint.Calls(); n != 0 {
		t.Errorf("%d calls", n)
	}
	t.Run("another athd is at it", func(t *testing.T) {
		reached, free := make(chan struct{}), make(chan struct{})
		w.endpoint.Answers(func(int, http.ResponseWriter, *http.Request) bool { close(reached); <-free; return false })
		c := w.connect(time.Hour)
		first := make(chan vault.Report, 1)
		go func() { first <- w.replicas[1].askFor(w, c) }()
		<-reached
		if got := r.askFor(w, c); got.Outcome != vault.UnderWay {
			t.Error(got.Outcome)
		}
		close(free)
		if got := <-first; got.Outcome != vault.Refreshed {
			t.Error(got.Outcome)
		}
		w.endpoint.Answers(nil)
	})
	t.Run("the provider is away", func(t *testing.T) {
		c := w.connect(time.Hour)
		w.endpoint.Answers(says(503, `{"error":"temporarily_unavailable"}`))
		before := w.endpoint.Calls()
		for range 20 {
			if got := r.askFor(w, c); got.Outcome != vault.AwayProvider || got.Again < time.Second || got.Again > 30*time.Second {
				t.Errorf("%v, again in %v", got.Outcome, got.Again)
			}
		}
		if n := w.endpoint.Calls() - before; n != 1 {
			t.Errorf("%d calls", n)
		}
		if got := w.stored(c); !got.RefreshStatus.Refused.IsZero() {
			t.Error("the grant is lost")
		}
		w.endpoint.Answers(nil)
	})
	t.Run("Redis is away", func(t *testing.T) {
		c := w.connect(time.Hour)
		redis.Stop()
		began := time.Now()
		if got := r.askFor(w, c); got.Outcome != vault.AwayStore {
			t.Error(got.Outcome)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

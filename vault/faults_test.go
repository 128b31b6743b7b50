package vault_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// die ends an athd as a crash does: nothing that it was about to do is done.
func (r *replica) die() {
	r.store.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.vault.Close(ctx)
}

// held makes the endpoint hold calls back: asked gets one for each, and it goes on
// when release is closed.
func (e *endpoint) held() (asked chan int, release chan struct{}) {
	asked, release = make(chan int, 100), make(chan struct{})
	e.Answers(func(n int, _ http.ResponseWriter, _ *http.Request) bool {
		asked <- n
		<-release
		return false
	})
	return asked, release
}

func (y *tally) only(reasons ...authz.Reason) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	sum, all := 0, 0
	for _, n := range y.reasons {
		all += n
	}
	for _, reason := range reasons {
		sum += y.reasons[reason]
	}
	return sum == all && all > 0
}

// An athd dies while the provider works on its call. Whether or not the call
// counts, there is one more at most, never at the same time, and nobody's request
// fails while the old token lives.
//
// proves: P-6
func TestAnAthdThatDiesInACall(t *testing.T) {
	for name, spends := range map[string]bool{"the call does not count": false, "the call counts": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 4, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
			asked := make(chan struct{})
			w.endpoint.Answers(func(n int, rw http.ResponseWriter, r *http.Request) bool {
				if n > 1 {
					return false
				}
				close(asked)
				time.Sleep(2 * time.Second) // longer than the lease
				return !spends
			})
			c := w.connect(9 * time.Second)
			first, others := w.replicas[0], w.replicas[1:]
			for !isClosed(asked) {
				first.ask(c)
			}
			first.die()
			w.replicas = others
			y := &tally{}
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				for _, r := range others {
					began := time.Now()
					y.add(r.askWithin(5*time.Second, c), time.Since(began))
				}
			}
			if !y.only(authz.Allowed) {
				t.Errorf("decisions while the token lives: %v", y)
			}
			if n, at := w.endpoint.Calls(), w.endpoint.AtOnce(); n != 2 || at != 1 {
				t.Errorf("%d calls, %d at the same time", n, at)
			}
			switch stored := w.stored(c); {
			case !spends && !w.renewed(c):
				t.Error("the one more call has not refreshed the token")
			case spends && (stored.RefreshStatus.Refused.IsZero() || stored.RefreshStatus.RefusedFor != "invalid_grant"):
				t.Errorf("a spent token's refusal is not written down: %+v", stored.RefreshStatus)
			case spends && !strings.Contains(w.replicas[0].events.String()+w.replicas[1].events.String()+w.replicas[2].events.String(), "refresh_refused_after_unknown_outcome"):
				t.Error("the event does not say that the outcome of a call was unknown")
			}
		})
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// An athd is stopped in its call and goes on when another has had its refresh
// refused since: what it brings back is stored.
func TestAnAthdThatWasStoppedStoresWhatItHas(t *testing.T) {
	block := make(chan struct{})
	var stopped atomic.Bool
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, func(c *vault.Config) {
		if stopped.CompareAndSwap(false, true) { // the first one only
			c.Store = &stoppingStore{Store: c.Store, until: block}
		}
	})
	other := w.start()
	c := w.connect(6 * time.Second)
	w.replicas[0].ask(c)
	until(t, "the first call", 5*time.Second, func() bool { return w.endpoint.Calls() == 1 })
	until(t, "the one more call", 10*time.Second, func() bool { other.ask(c); return w.endpoint.Calls() == 2 })
	read := func() tokenstore.Connection {
		state, err := other.store.RefreshState(t.Context(), c.ref)
		if err != nil {
			t.Fatal(err)
		}
		return state.Connection
	}
	until(t, "the refusal is written down", 5*time.Second, func() bool { return !read().RefreshStatus.Refused.IsZero() })
	close(block)
	until(t, "the first one's tokens are stored", 5*time.Second, func() bool { return !read().Access.Equal(c.first.Access.Reveal()) })
	if r := read().RefreshStatus; !r.Refused.IsZero() {
		t.Errorf("still refused: %+v", r)
	}
}

// A stoppingStore has an athd stand still when it would store tokens.
type stoppingStore struct {
	vault.Store
	until chan struct{}
}

func (s *stoppingStore) RenewLease(context.Context, *tokenstore.Refresh, time.Duration) error {
	return tokenstore.ErrUnavailable
}

func (s *stoppingStore) FinishRefresh(ctx context.Context, r *tokenstore.Refresh, next *tokenstore.Connection, keep time.Duration) error {
	<-s.until
	return s.Store.FinishRefresh(ctx, r, next, keep)
}

// Redis stands still for some seconds, as the token ends: before the call, and
// while it is under way.
func TestRedisThatStandsStill(t *testing.T) {
	for _, when := range []string{"before the call", "in the call"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			redis := realredis.Start(t)
			w := newWorld(t, 4, tokenstore.Config{URL: redis.URL(), Timeout: 250 * time.Millisecond}, nil, nil)
			c := w.connect(-time.Second)
			if when == "in the call" {
				asked, release := w.endpoint.held()
				go w.replicas[0].ask(c)
				<-asked
				redis.Pause()
				close(release)
			} else {
				redis.Pause()
			}
			// Who would wait for Redis waits for that.
			resume := time.AfterFunc(30*time.Second, redis.Resume)
			defer resume.Stop()
			defer redis.Resume()
			y := &tally{}
			var all sync.WaitGroup
			for _, r := range w.replicas {
				all.Go(func() {
					for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
						began := time.Now()
						y.add(r.ask(c), time.Since(began))
					}
				})
			}
			all.Wait()
			redis.Resume()
			if !y.only(authz.StoreUnavailable, authz.ProviderUnavailable) || y.slowest > 10*time.Second {
				t.Errorf("decisions while Redis stands still: %v", y)
			}
			until(t, "decisions allow again", 10*time.Second, func() bool {
				allowed := true
				for _, r := range w.replicas {
					d := r.ask(c)
					allowed = allowed && d.Allowed()
				}
				return allowed
			})
			if n := w.endpoint.Calls(); n != 1 || !w.renewed(c) {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// What a provider gave is written once Redis takes it, and until then nobody asks
// the provider again; also by an athd that is asked to end.
func TestWhatCameBackIsWritten(t *testing.T) {
	refuse := func(t *testing.T, redis *realredis.Server, key, value string) {
		if err := redis.Client().ConfigSet(t.Context(), key, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("Redis takes no writes", func(t *testing.T) {
		redis := realredis.Start(t)
		w := newWorld(t, 2, tokenstore.Config{URL: redis.URL()}, nil, nil)
		c := w.connect(30 * time.Second)
		asked, release := w.endpoint.held()
		w.replicas[0].vault.Soon(w.provider, grantOf(c), &c.first)
		r := w.replicas[0]
		for range 100 {
			r.ask(c)
		}
		waitAsked(t, asked)
		refuse(t, redis, "min-replicas-to-write", "1")
		close(release)
		until(t, "it is known to be unwritten", 5*time.Second, func() bool { return r.vault.Unwritten() == 1 })
		for range 20 {
			for _, r := range w.replicas {
				if d := r.ask(c); !d.Allowed() {
					t.Fatalf("refused while the old token lives: %s", d.Reason())
				}
			}
		}
		refuse(t, redis, "min-replicas-to-write", "0")
		until(t, "it is written", 5*time.Second, func() bool { return w.renewed(c) && r.vault.Unwritten() == 0 })
		if n := w.endpoint.Calls(); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
	t.Run("Redis is full", func(t *testing.T) {
		redis := realredis.Start(t)
		w := newWorld(t, 2, tokenstore.Config{URL: redis.URL()}, nil, nil)
		c := w.connect(-time.Second)
		refuse(t, redis, "maxmemory", "1")
		until(t, "it is refreshed nevertheless", 5*time.Second, func() bool { d := w.replicas[1].ask(c); return d.Allowed() })
		if n := w.endpoint.Calls(); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
	t.Run("nothing is spent while Redis takes no writes", func(t *testing.T) {
		redis := realredis.Start(t)
		w := newWorld(t, 2, tokenstore.Config{URL: redis.URL()}, nil, nil)
		c := w.connect(-time.Second)
		refuse(t, redis, "min-replicas-to-write", "1")
		if y := w.storm(5, c); !y.only(authz.StoreUnavailable, authz.ProviderUnavailable) {
			t.Errorf("decisions: %v", y)
		}
		if n := w.endpoint.Calls(); n != 0 {
			t.Errorf("%d calls", n)
		}
		refuse(t, redis, "min-replicas-to-write", "0")
		until(t, "it is refreshed", 5*time.Second, func() bool { d := w.replicas[1].ask(c); return d.Allowed() })
		if n := w.endpoint.Calls(); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
	t.Run("athd is asked to end", func(t *testing.T) {
		redis := realredis.Start(t)
		w := newWorld(t, 2, tokenstore.Config{URL: redis.URL()}, nil, nil)
		c := w.connect(-time.Second)
		asked, release := w.endpoint.held()
		go w.replicas[0].ask(c)
		waitAsked(t, asked)
		refuse(t, redis, "min-replicas-to-write", "1")
		close(release)
		r := w.replicas[0]
		until(t, "it is known to be unwritten", 5*time.Second, func() bool { return r.vault.Unwritten() == 1 })
		ended := make(chan struct{})
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			r.vault.Close(ctx)
			close(ended)
		}()
		if d := r.ask(c); d.Allowed() {
			t.Error("allowed with a token that is not stored")
		}
		refuse(t, redis, "min-replicas-to-write", "0")
		<-ended
		if !w.renewed(c) || w.endpoint.Calls() != 1 {
			t.Errorf("%d calls, and it is not written", w.endpoint.Calls())
		}
	})
}

func waitAsked(t *testing.T, asked chan int) {
	t.Helper()
	select {
	case <-asked:
	case <-time.After(10 * time.Second):
		t.Fatal("the provider was not asked")
	}
}

func grantOf(c call) *tokenstore.Grant {
	return &tokenstore.Grant{Agent: c.ref.Agent, User: c.ref.User, Provider: c.ref.Provider, Connection: c.ref.Tag}
}

// queues has all tokens of connections that end revoked at the provider.
type queues struct{}

func (queues) Judge(ath.Tag, *tokenstore.Connection) tokenstore.Upstream {
	return tokenstore.UpstreamQueued
}
func (queues) Ended(tokenstore.ConnectionRef, tokenstore.Upstream) {}

// A connection that ends while its token is being refreshed stays ended, and it is
// the token that comes back then that is revoked at the provider.
// proves: V-5
func TestWhatEndsInACallStaysEnded(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL(), Upstream: queues{}}, nil, nil)
	c := w.connect(-time.Second)
	asked, release := w.endpoint.held()
	r := w.replicas[0]
	go r.ask(c)
	waitAsked(t, asked)
	grant, err := r.store.Grant(t.Context(), c.token)
	if err == nil {
		err = r.store.Revoke(t.Context(), grant, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	before, err := r.store.Revocation(t.Context(), c.ref.Tag)
	if err != nil {
		t.Fatal(err)
	}
	close(release)
	until(t, "the flight ends", 5*time.Second, func() bool { return r.vault.InFlight() == 0 })
	until(t, "the newest token is the one that is revoked", 5*time.Second, func() bool {
		now, err := r.store.Revocation(t.Context(), c.ref.Tag)
		return err == nil && now.Value.Refresh.Reveal() != before.Value.Refresh.Reveal() && w.endpoint.Alive(now.Value.Refresh.Reveal())
	})
	if d := r.ask(c); d.Reason() != authz.TokenRevoked {
		t.Errorf("reason %s", d.Reason())
	}
	if _, err := r.store.RefreshState(t.Context(), c.ref); err == nil {
		t.Error("the connection was brought back")
	}
}

// O-2: a refresh token is sent to the server only that the user agreed to.
func TestARefreshTokenIsForItsOwnServer(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	server := func(c *tokenstore.Connection) {
		c.Destination = "https://elsewhere.example/token c https://api.shop.example"
	}
	userinfo := func(c *tokenstore.Connection) { c.Bound = "another place" }
	for name, how := range map[string]struct {
		left  time.Duration
		moved func(*tokenstore.Connection)
	}{
		"ended": {-time.Second, server}, "ending": {time.Second, server},
		"ended, of another userinfo endpoint": {-time.Second, userinfo}, "ending, of another userinfo endpoint": {time.Second, userinfo},
	} {
		left := how.left
		c := w.connect(left, how.moved)
		if d := w.replicas[0].ask(c); d.Reason() != authz.ReauthorizationRequired {
			t.Errorf("%s: reason %s", name, d.Reason())
		}
		// Beside the rules too, where the configuration changes in between.
		if got := w.replicas[0].vault.Renew(t.Context(), w.provider, grantOf(c), &c.first); got != vault.Refused && left < 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	if n := w.endpoint.Calls(); n != 0 {
		t.Errorf("%d calls", n)
	}
}

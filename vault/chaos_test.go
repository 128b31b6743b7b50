package vault_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// chaosRounds is how many there are: some with every test, and as many as
// ATHD_CHAOS_ROUNDS says for make chaos-refresh.
func chaosRounds(t *testing.T) int {
	text := os.Getenv("ATHD_CHAOS_ROUNDS")
	if text == "" {
		return 12
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal("ATHD_CHAOS_ROUNDS: ", err)
	}
	return n
}

// chaosFaults are what goes wrong as users' tokens end.
const (
	athdKilled  = "an athd killed"
	athdStopped = "an athd stopped"
	athdCutOff  = "an athd cut off from Redis"
	redisPaused = "Redis paused"
	readOnly    = "Redis takes no writes"
	providerCut = "the provider cut off"
	hangsUp     = "the provider hangs up"
	answers503  = "the provider answers 503"
)

var chaosFaults = []string{"nothing", athdKilled, athdStopped, athdCutOff, redisPaused, readOnly, providerCut, hangsUp, answers503}

// TestChaosRefresh lets users' tokens end while something goes wrong, on a
// provider that ends a grant whose refresh token comes a second time. No grant may
// be lost whose new tokens had reached an athd that was not killed at that moment.
func TestChaosRefresh(t *testing.T) {
	const worlds = 10 // they wait more than they work
	rounds := chaosRounds(t)
	total := &chaosFigures{by: map[string]*chaosFigure{}}
	var left atomic.Int64
	left.Store(int64(rounds))
	var all sync.WaitGroup
	for i := range min(worlds, rounds) {
		c := newChaos(t, total)
		all.Go(func() {
			for n := i; left.Add(-1) >= 0; n += worlds {
				c.round(chaosFaults[n%len(chaosFaults)])
			}
		})
	}
	all.Wait()
	total.print(t)
}

// A chaos is three athd, each with a way of its own to one Redis.
type chaos struct {
	t        *testing.T
	w        *world
	redis    *realredis.Server
	provider *way
	ways     map[*replica]*way
	peers    map[*replica]*peer
	latest   *peer
	figures  *chaosFigures
}

func newChaos(t *testing.T, figures *chaosFigures) *chaos {
	c := &chaos{t: t, redis: realredis.Start(t), ways: map[*replica]*way{}, peers: map[*replica]*peer{}, figures: figures}
	e := newEndpoint(t)
	c.provider = newWay(t, e.Listener.Addr().String())
	c.provider.leaves = true
	first := newWay(t, c.redis.Addr())
	c.w = newWorldWith(t, e, 1, c.store(first), map[string]any{"token_endpoint": "http://" + c.provider.addr + "/token"}, func(v *vault.Config) {
		v.Lease, v.Call, v.Grace, v.Settle = 200*time.Millisecond, 900*time.Millisecond, 300*time.Millisecond, 600*time.Millisecond
		c.latest = &peer{Store: v.Store, oauth: v.OAuth, endpoint: e, cut: &c.provider.cut, open: map[string]bool{}}
		v.Store, v.OAuth = c.latest, c.latest
	})
	c.ways[c.w.replicas[0]], c.peers[c.w.replicas[0]] = first, c.latest
	for range 2 {
		c.start()
	}
	return c
}

func (c *chaos) store(by *way) tokenstore.Config {
	return tokenstore.Config{URL: fmt.Sprintf("redis://:%s@%s/0", c.redis.Password(), by.addr), Timeout: 250 * time.Millisecond}
}

func (c *chaos) start() {
	by := newWay(c.t, c.redis.Addr())
	c.w.config = c.store(by)
	r := c.w.start()
	c.ways[r], c.peers[r] = by, c.latest
}

func (c *chaos) round(fault string) {
	const grants = 3
	random := func(most time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(most))) }
	c.w.endpoint.Answers(func(n int, rw http.ResponseWriter, r *http.Request) bool {
		time.Sleep(random(200 * time.Millisecond))
		if first := c.w.endpoint.of(r.PostFormValue("refresh_token")).calls == 1; first && rand.IntN(2) == 0 {
			switch fault {
			case hangsUp:
				panic(http.ErrAbortHandler)
			case answers503:
				rw.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
		}
		kept := &keptReply{header: http.Header{}, status: http.StatusOK}
		c.w.endpoint.Refresh(kept, r) // it counts from here on
		time.Sleep(random(200 * time.Millisecond))
		kept.send(rw)
		return true
	})
	var calls []call
	var ends []time.Time
	for i := range grants {
		left := -time.Second
		if i > 0 {
			left = 20 * time.Second // it may live until the end of the round
		}
		calls = append(calls, c.w.connect(left))
		ends = append(ends, time.Now().Add(left))
	}
	heal := func() {}
	strike := time.After(random(400 * time.Millisecond))
	deadline := time.Now().Add(25 * time.Second)
	var healed time.Time
	for struck := false; ; {
		select {
		case <-strike:
			heal, struck = c.strike(fault), true
			healed = time.Now().Add(100*time.Millisecond + random(600*time.Millisecond))
			if (fault == athdStopped || fault == providerCut) && rand.IntN(3) == 0 { // longer than a call may take
				healed = healed.Add(random(2 * time.Second))
			}
		default:
		}
		if struck && !healed.IsZero() && time.Now().After(healed) {
			heal()
			healed = time.Time{}
		}
		done := struck && healed.IsZero()
		for i, call := range calls {
			for _, r := range c.w.replicas {
				done = c.decide(fault, r, call, ends[i], !struck || !healed.IsZero()) && done
			}
		}
		if done {
			break
		}
		if time.Now().After(deadline) {
			c.t.Errorf("%s: not settled after 25 s", fault)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.figures.add(fault, func(f *chaosFigure) { f.rounds++ })
	for _, call := range calls {
		l := c.w.endpoint.of(call.first.Refresh.Reveal())
		renewed := c.w.renewed(call)
		c.figures.add(fault, func(f *chaosFigure) {
			f.grants++
			f.calls += l.calls
			f.atOnce = max(f.atOnce, l.most)
			if l.calls > 1 {
				f.twice++
			}
			if l.struck {
				f.exposed++
			}
			switch {
			case renewed:
				f.renewed++
			case l.struck && l.reader == nil:
				f.unread++
			case l.struck && l.reader.isDead():
				f.gone++
			default:
				f.lost++
			}
		})
	}
}

// decide asks one athd, counts the answer, and reports whether the grant has come
// to rest there: it has a new token, or is refused for good.
func (c *chaos) decide(fault string, r *replica, call call, ends time.Time, troubled bool) bool {
	if c.peers[r].isStopped() {
		return true // it answers nobody
	}
	d := r.ask(call)
	alive := time.Now().Before(ends)
	c.figures.add(fault, func(f *chaosFigure) {
		f.decisions++
		switch reason := d.Reason(); {
		case reason == authz.Allowed:
		case reason == authz.StoreUnavailable || reason == authz.ProviderUnavailable && !alive:
			f.unavailable++
		case reason == authz.ReauthorizationRequired && !alive:
		default:
			f.failed++
		}
	})
	if troubled {
		return false
	}
	state, err := r.store.RefreshState(c.t.Context(), call.ref)
	return err == nil && (!state.Connection.Access.Equal(call.first.Access.Reveal()) || !state.Connection.RefreshStatus.Refused.IsZero())
}

// strike lets something go wrong, until heal is called.
func (c *chaos) strike(fault string) (heal func()) {
	n := rand.IntN(len(c.w.replicas))
	victim := c.w.replicas[n]
	switch fault {
	case athdKilled:
		c.w.replicas = append(c.w.replicas[:n:n], c.w.replicas[n+1:]...)
		c.peers[victim].kill()
		victim.die()
		return c.start
	case athdStopped:
		return c.peers[victim].stop()
	case redisPaused:
		c.redis.Pause()
		return c.redis.Resume
	case athdCutOff:
		return c.ways[victim].close()
	case providerCut:
		heal := c.provider.close()
		for _, p := range c.peers {
			p.mu.Lock()
			p.strike()
			p.mu.Unlock()
		}
		return heal
	case readOnly:
		client := c.redis.Client()
		client.ConfigSet(c.t.Context(), "min-replicas-to-write", "1")
		return func() { client.ConfigSet(c.t.Context(), "min-replicas-to-write", "0") }
	}
	return func() {}
}

// A keptReply is sent later than it was made.
type keptReply struct {
	header http.Header
	status int
	body   []byte
}

func (k *keptReply) Header() http.Header         { return k.header }
func (k *keptReply) WriteHeader(status int)      { k.status = status }
func (k *keptReply) Write(b []byte) (int, error) { k.body = append(k.body, b...); return len(b), nil }
func (k *keptReply) send(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(k.status)
	w.Write(k.body)
}

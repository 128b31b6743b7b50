package vault_test

import (
	"fmt"
	"math/rand/v2"
	"net"
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
var chaosFaults = []string{"nothing", "an athd killed", "Redis paused", "an athd cut off from Redis", "Redis takes no writes", "the provider hangs up", "the provider answers 503"}

// TestChaosRefresh lets users' tokens end while something goes wrong, on a
// provider that ends a grant whose refresh token comes a second time. No grant may
// be lost whose new tokens had reached an athd that lives.
func TestChaosRefresh(t *testing.T) {
	const worlds = 4
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

type chaosFigures struct {
	mu sync.Mutex
	by map[string]*chaosFigure
}

type chaosFigure struct {
	rounds, grants, renewed, killedWithReply, lost int
	calls, twice, atOnce                           int
	decisions, unavailable, failed                 int
}

func (f *chaosFigures) add(fault string, change func(*chaosFigure)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by[fault] == nil {
		f.by[fault] = &chaosFigure{}
	}
	change(f.by[fault])
}

func (f *chaosFigures) print(t *testing.T) {
	out := fmt.Sprintf("%-28s %6s %6s %7s %6s %5s %6s %5s %8s %9s %7s %6s\n", "fault", "rounds", "grants", "renewed", "killed", "lost", "calls", "two", "at once", "decisions", "503", "failed")
	for _, fault := range chaosFaults {
		g := f.by[fault]
		if g == nil {
			continue
		}
		out += fmt.Sprintf("%-28s %6d %6d %7d %6d %5d %6d %5d %8d %9d %7d %6d\n",
			fault, g.rounds, g.grants, g.renewed, g.killedWithReply, g.lost, g.calls, g.twice, g.atOnce, g.decisions, g.unavailable, g.failed)
		if g.lost > 0 || g.atOnce > 1 || g.failed > 0 || g.renewed+g.killedWithReply != g.grants {
			t.Errorf("%s: %d grants lost, %d calls at once, %d decisions failed", fault, g.lost, g.atOnce, g.failed)
		}
		if fault != "an athd killed" && g.killedWithReply > 0 {
			t.Errorf("%s: %d grants lost with an athd that was not killed", fault, g.killedWithReply)
		}
	}
	t.Logf("killed: a call that counted, and its athd killed before it had stored the answer\n%s", out)
}

// A chaos is three athd, each with a way of its own to one Redis.
type chaos struct {
	t       *testing.T
	w       *world
	redis   *realredis.Server
	ways    map[*replica]*way
	figures *chaosFigures
}

func newChaos(t *testing.T, figures *chaosFigures) *chaos {
	c := &chaos{t: t, redis: realredis.Start(t), ways: map[*replica]*way{}, figures: figures}
	first := newWay(t, c.redis.Addr())
	c.w = newWorld(t, 1, c.store(first), nil, func(v *vault.Config) {
		v.Lease, v.Call, v.Grace, v.Settle = 200*time.Millisecond, 900*time.Millisecond, 300*time.Millisecond, 600*time.Millisecond
	})
	c.ways[c.w.replicas[0]] = first
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
	c.ways[c.w.start()] = by
}

func (c *chaos) round(fault string) {
	const grants = 3
	random := func(most time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(most))) }
	c.w.endpoint.Answers(func(n int, rw http.ResponseWriter, r *http.Request) bool {
		time.Sleep(random(200 * time.Millisecond))
		if first := c.w.endpoint.of(r.PostFormValue("refresh_token")).calls == 1; first && rand.IntN(2) == 0 {
			switch fault {
			case "the provider hangs up":
				panic(http.ErrAbortHandler)
			case "the provider answers 503":
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
			switch {
			case renewed:
				f.renewed++
			case fault == "an athd killed" && l.calls == 2: // one whose answer went with it, and one that was refused
				f.killedWithReply++
			default:
				f.lost++
			}
		})
	}
}

// decide asks one athd, counts the answer, and reports whether the grant has come
// to rest there: it has a new token, or is refused for good.
func (c *chaos) decide(fault string, r *replica, call call, ends time.Time, troubled bool) bool {
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
	return err == nil && (!state.Connection.Access.Equal(call.first.Access.Reveal()) || !state.Connection.Renewal.Refused.IsZero())
}

// strike lets something go wrong, until heal is called.
func (c *chaos) strike(fault string) (heal func()) {
	victim := rand.IntN(len(c.w.replicas))
	switch fault {
	case "an athd killed":
		dead := c.w.replicas[victim]
		c.w.replicas = append(c.w.replicas[:victim:victim], c.w.replicas[victim+1:]...)
		dead.die()
		return c.start
	case "Redis paused":
		c.redis.Pause()
		return c.redis.Resume
	case "an athd cut off from Redis":
		by := c.ways[c.w.replicas[victim]]
		by.cut.Store(true)
		return func() { by.cut.Store(false) }
	case "Redis takes no writes":
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

// A way leads to Redis, and nowhere while it is cut: what is sent is lost neither
// there nor back, but waits.
type way struct {
	addr string
	cut  atomic.Bool
}

func newWay(t testing.TB, to string) *way {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	w := &way{addr: l.Addr().String()}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				from.Close()
				continue
			}
			go w.carry(from, server)
			go w.carry(server, from)
		}
	}()
	return w
}

func (w *way) carry(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		for w.cut.Load() {
			time.Sleep(5 * time.Millisecond)
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

package replicas

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/tokenstore"
)

const (
	firstRefusal = time.Second     // at most this long after a fault somebody hears 503
	firstSuccess = 2 * time.Second // at most this long after it everything works again
	// busy is how many times as long a machine may take that does much else beside:
	// the table says how long it was. What does not heal by itself never does.
	busy = 4

	before = 200 * time.Millisecond // of load, before the fault
	during = 700 * time.Millisecond
)

// A fault is something that happens to a store, and its end.
type fault struct {
	name        string
	begin, heal func()
	// reads go on: what needs no write is answered as before.
	reads bool
}

// A report is the table of all faults.
type report struct{ strings.Builder }

func (r *report) head() {
	fmt.Fprintf(r, "\n%-44s %9s %9s %9s %9s %9s %8s %10s %9s %5s %6s %s\n", "fault", "first 503", "calls", "handshake", "revoked",
		"requests", "503s", "unanswered", "half-made", "lost", "wrong", "(left to expire)")
	fmt.Fprintf(r, "%-44s %9s %29s\n", "", "after it", "again, after healing")
}

// TestStoreAway breaks a redis-server in every way, under load, and holds that
// athd says so at once, hangs nowhere, leaves nothing half made, forgets
// nothing that it acknowledged, and heals by itself.
func TestStoreAway(t *testing.T) {
	server := realredis.Start(t)
	proxy := startProxy(t, server.Addr())
	url := fmt.Sprintf("redis://:%s@%s/0", server.Password(), proxy.addr)
	p := newPair(t, store{yaml: fmt.Sprintf("url: %q", url), settings: tokenstore.Config{URL: server.URL()}})
	raw := server.Client()
	set := func(name, value string) func() {
		return func() {
			if err := raw.ConfigSet(t.Context(), name, value).Err(); err != nil {
				t.Errorf("CONFIG SET %s: %v", name, err)
			}
		}
	}
	replicaOf := func(host, port string) func() {
		return func() {
			if err := raw.ReplicaOf(t.Context(), host, port).Err(); err != nil {
				t.Errorf("REPLICAOF: %v", err)
			}
		}
	}
	_, deadPort, _ := strings.Cut(reserve.Addr(t), ":")
	var r report
	r.head()
	for _, f := range []fault{
		{name: "killed", begin: server.Kill, heal: server.Start},
		{name: "paused (SIGSTOP)", begin: server.Pause, heal: server.Resume},
		{name: "slow (1.5 s an answer)", begin: func() { proxy.delay.Store(int64(1500 * time.Millisecond)) }, heal: func() { proxy.delay.Store(0) }},
		{name: "out of memory (noeviction)", begin: set("maxmemory", "1"), heal: set("maxmemory", "0"), reads: true},
		{name: "read-only (replica of a dead master)", begin: replicaOf("127.0.0.1", deadPort), heal: replicaOf("NO", "ONE")},
		{name: "too few replicas (min-replicas-to-write 1)", begin: set("min-replicas-to-write", "1"), heal: set("min-replicas-to-write", "0"), reads: true},
	} {
		t.Run(f.name, func(t *testing.T) {
			if err := raw.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			l := p.startLoad(t)
			defer l.end()
			time.Sleep(before)
			heal := sync.OnceFunc(f.heal)
			t.Cleanup(heal)
			began := time.Now()
			f.begin()
			time.Sleep(during)
			if f.reads {
				p.readsGoOn(t, l, began)
			}
			heal()
			healed := time.Now()
			l.awaitAll(healed)
			l.end()
			found := r.judge(t, p, f.name, l, began, healed, firstSuccess, raw)
			if len(found.lost) > 0 {
				t.Errorf("lost: %q", found.lost)
			}
		})
	}
	t.Run("the scan finds what is planted", func(t *testing.T) { plant(t, p, raw) })
	r.WriteString("\nOut of memory and too few replicas stop writes alone: the handshake is 503, calls pass as before. " +
		"A replica is not read from: it may not know what was revoked.\n")
	t.Log(r.String())
}

// readsGoOn holds that calls pass while nothing can be written.
func (p *pair) readsGoOn(t *testing.T, l *load, began time.Time) {
	t.Helper()
	passed := 0
	for range 10 {
		switch r := p.call(t.Context(), l.live.actor, l.live.token); r.status {
		case http.StatusOK:
			passed++
		case http.StatusServiceUnavailable: // a busy machine may miss a deadline
		default:
			t.Errorf("while nothing can be written a call is answered with %d %s", r.status, r.code)
		}
	}
	if passed < 5 {
		t.Errorf("while nothing can be written %d of 10 calls pass", passed)
	}
	if n := l.count(func(m moment) bool { return m.at.Sub(began) > firstRefusal/2 && succeeded("handshake")(m) }); n > 0 {
		t.Errorf("%d writes succeeded: there was no fault", n)
	}
}

var kinds = []string{"call", "handshake", "revocation"}

// awaitAll lets the load run until everything has worked again.
func (l *load) awaitAll(healed time.Time) {
	for time.Since(healed) < (busy+1)*firstSuccess {
		missing := false
		for _, kind := range kinds {
			missing = missing || l.first(healed, succeeded(kind)) < 0
		}
		if !missing {
			time.Sleep(before) // what was asked just after, too
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// judge adds a line to the table and holds it to what is promised. revoked is
// how long after healing the first revocation may come.
func (r *report) judge(t *testing.T, p *pair, name string, l *load, began, healed time.Time, revoked time.Duration, raw *redis.Client) finding {
	t.Helper()
	none := l.count(func(m moment) bool { return m.status == 0 })
	wrongs := l.count(wrong)
	refusal := l.first(began, refused)
	if refusal < 0 || refusal > busy*firstRefusal {
		t.Errorf("the first 503 came after %v, want at most %v", refusal, busy*firstRefusal)
	}
	var again []string
	for _, kind := range kinds {
		took, atMost := l.first(healed, succeeded(kind)), firstSuccess
		if kind == "revocation" {
			atMost = revoked
		}
		if took < 0 || took > busy*atMost {
			t.Errorf("the first %s after healing came after %v, want at most %v", kind, took, busy*atMost)
		}
		again = append(again, took.Round(time.Millisecond).String())
	}
	if none > 0 {
		t.Errorf("%d requests got no answer within 5 s", none)
	}
	f := p.scan(t, raw, l)
	for _, what := range f.half {
		t.Errorf("half made: %s", what)
	}
	fmt.Fprintf(r, "%-44s %9s %9s %9s %9s %9d %8d %10d %9d %5d %6d %16d\n", name, refusal.Round(time.Millisecond), again[0], again[1], again[2],
		l.count(func(moment) bool { return true }), l.count(refused), none, len(f.half), len(f.lost), wrongs, f.left)
	if wrongs > 0 {
		for _, m := range l.moments {
			if wrong(m) {
				t.Errorf("a %s was answered with %d %s", m.kind, m.status, m.code)
			}
		}
	}
	return f
}

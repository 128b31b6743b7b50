package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/figures"
	"github.com/athd/athd/test/harness/streams"
)

const (
	perHolder  = 100 // streams of one token
	rate       = 200 // short calls a second
	window     = 4 * time.Second
	goalBeside = 1.2
	goalMemory = 24 << 10
)

// size is how many there are of something: few in make test.
func size(t testing.TB, name string, few, all int) int {
	t.Helper()
	if text := os.Getenv(name); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s is %q", name, text)
		}
		return n
	}
	if full() {
		return all
	}
	return few
}

// Many streams that say nothing are open at once, over HTTP/2 on both sides. Revoking
// one token ends its stream and no other, and one more than the cap is refused.
func TestManyIdleStreams(t *testing.T) {
	n := size(t, "ATHD_STREAMS", 300, 10_000)
	// Garbage is collected soon: what is resident is what lives.
	w := newWorld(t, setup{envoy: watched[0].envoy, limits: capsOf(n), top: "runtime: {gc_percent: 25, memory_limit: 1GiB}\n"})
	closeAll(w.idle(t, min(n, 200))) // pools and buffers are there before memory is looked at
	before := w.memory(t)
	all := w.idle(t, n)
	after := w.memory(t)
	defer closeAll(all)

	h := w.hold("two", time.Hour)
	_, err := streams.Find("events over HTTP/2").Open(t.Context(), w.api, w.through(0, h))
	no, ok := errors.AsType[*streams.RefusedError](err)
	refused := ok && no.Status == http.StatusTooManyRequests && no.Header.Get("Retry-After") != ""
	figures.AboveCap.Seen(t, refused, "%v", err)

	closeAll(all[:1])
	one := w.opensOne(t, h)
	asked := time.Now()
	if err := w.revoke(1, h, h.token.Secret()); err != nil {
		t.Fatal(err)
	}
	end, ok := one.Wait(asked.Add(lost))
	if !ok {
		t.Fatalf("the stream goes on %v after its token was revoked", lost)
	}
	// What would end with it would do so in the same moment.
	timer := time.NewTimer(time.Second)
	<-timer.C
	others := 0
	for _, s := range all[1:] {
		if _, ok := s.Wait(time.Now()); ok {
			others++
		}
	}
	for until := time.Now().Add(lost); w.api.Open() > n-1 && time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
	} // until the API has seen the ends
	figures.Idle.Seen(t, others == 0 && w.api.Open() == n-1, "%d open; one revoked, ended after %s; %d others ended", n, ms(end.At.Sub(asked)), others)

	bounded := newWorld(t, setup{})
	closeAll(bounded.idle(t, min(n, 200)))
	beforeBounded := bounded.memory(t)
	bare := bounded.idle(t, n)
	afterBounded := bounded.memory(t)
	closeAll(bare)
	athd := (after.athd - before.athd) / int64(n)
	envoy, bareEnvoy := (after.envoy-before.envoy)/int64(n), (afterBounded.envoy-beforeBounded.envoy)/int64(n)
	figures.WatchMemory.Seen(t, !full() || athd <= goalMemory, "%.1f KiB (resident: %.1f MiB, %.1f before)", kib(athd), mib(after.athd), mib(before.athd))
	figures.EnvoyMemory.Seen(t, true, "%.1f KiB (allocated: %.1f MiB, %.1f before; resident %.1f MiB); %.1f KiB where they are bounded only",
		kib(envoy), mib(after.envoy), mib(before.envoy), mib(after.resident), kib(bareEnvoy))
}

// Short calls beside many idle streams take as long as without.
func TestCallsBesideManyIdleStreams(t *testing.T) {
	n := size(t, "ATHD_STREAMS", 300, 10_000)
	w := newWorld(t, setup{envoy: watched[0].envoy, limits: capsOf(n), top: "runtime: {memory_limit: 512MiB}\n"})
	caller := w.hold("two", time.Hour)
	w.window(t, caller, window/4)
	p99 := map[bool]figures.Times{}
	var all []*streams.Stream
	look := func(open bool) {
		switch {
		case open && all == nil:
			all = w.idle(t, n)
		case !open && all != nil:
			closeAll(all)
			all = nil
			w.noneLeft(t)
		}
		p99[open] = append(p99[open], w.window(t, caller, window).P99())
	}
	for i := range size(t, "ATHD_STREAMS_WINDOWS", 1, 11) {
		first := i%2 == 0 // neither is always first
		look(first)
		look(!first)
	}
	closeAll(all)
	with, without := p99[true].At(0.5), p99[false].At(0.5)
	ratio := float64(with) / float64(without)
	figures.BesideOpen.Seen(t, !full() || ratio <= goalBeside, "%.2f: %v with %d open, %v without; medians of %d windows of %v, %d calls a second",
		ratio, with, n, without, len(p99[true]), window, rate)
}

func capsOf(n int) string {
	return fmt.Sprintf("streams: {per_grant: %d, per_agent: %d, total: %d}", perHolder, perHolder, n)
}

// idle opens streams of events that say something once, and returns when all are open.
func (w *world) idle(t *testing.T, n int) []*streams.Stream {
	t.Helper()
	all, errs := make([]*streams.Stream, n), make([]error, n)
	k := streams.Find("events over HTTP/2")
	var opening sync.WaitGroup
	slots := make(chan struct{}, size(t, "ATHD_STREAMS_OPENING", 8, 64))
	for first := 0; first < n; first += perHolder {
		c := w.through(0, w.hold("two", time.Hour))
		c.Every = "0s"
		for i := first; i < min(n, first+perHolder); i++ {
			slots <- struct{}{}
			opening.Go(func() {
				defer func() { <-slots }()
				all[i], errs[i] = k.Open(context.WithoutCancel(t.Context()), w.api, c)
			})
		}
	}
	opening.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return all
}

func closeAll(all []*streams.Stream) {
	for _, s := range all {
		s.Close()
	}
}

// opensOne opens one when there is room for it.
func (w *world) opensOne(t *testing.T, h *holder) *streams.Stream {
	t.Helper()
	c := w.through(0, h)
	c.Every = "0s"
	for end := time.Now().Add(lost); ; time.Sleep(10 * time.Millisecond) {
		s, err := streams.Find("events over HTTP/2").Open(context.WithoutCancel(t.Context()), w.api, c)
		if err == nil {
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("one has ended, and none opens: %v", err)
		}
	}
}

// window makes short calls at a steady rate for a while, whatever the answers take,
// and returns how long each took from when it was due. In make test, where no figure
// is wanted, a machine that cannot keep up takes longer: a few calls are under way.
func (w *world) window(t *testing.T, h *holder, during time.Duration) figures.Times {
	t.Helper()
	// The streams' other ends are in this process, too: what it collects is none of
	// what is measured.
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	n := int(during.Seconds() * rate)
	took, errs := make(figures.Times, n), make([]error, n)
	var calls sync.WaitGroup
	slots := make(chan struct{}, size(t, "ATHD_STREAMS_CALLS", 8, n))
	for i, due := 0, time.Now(); i < n; i, due = i+1, due.Add(time.Second/rate) {
		time.Sleep(time.Until(due)) // the rate is what is wanted
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			errs[i] = w.short(t.Context(), 0, h)
			took[i] = time.Since(due)
		})
	}
	calls.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return took
}

// A use is memory, in bytes.
type use struct{ athd, envoy, resident int64 }

// memory looks at the first athd and its Envoy.
func (w *world) memory(t *testing.T) (u use) {
	t.Helper()
	var reply struct{ Allocated string }
	err := json.Unmarshal([]byte(w.Envoy[0].Admin("/memory")), &reply)
	if err == nil {
		u.envoy, err = strconv.ParseInt(reply.Allocated, 10, 64)
	}
	if err != nil {
		t.Fatal(err)
	}
	u.athd, u.resident = resident(t, w.Athd[0].PID()), resident(t, w.Envoy[0].PID())
	return u
}

func resident(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if err != nil || found == nil {
		t.Fatalf("the memory of process %d is not to be had: %v", pid, err)
	}
	kb, _ := strconv.ParseInt(string(found[1]), 10, 64)
	return kb << 10
}

func kib(n int64) float64 { return float64(n) / (1 << 10) }
func mib(n int64) float64 { return float64(n) / (1 << 20) }

package addprovider

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/figures"
)

const (
	rate        = 200 // calls a second, by turns through either Envoy
	window      = 1500 * time.Millisecond
	changeEvery = 100 * time.Millisecond
	goalSteady  = 1.2
)

// Providers come, change and go, and calls of another one do not notice: none
// fails, and they take as long as without.
func TestCallsOfOtherProvidersGoOn(t *testing.T) {
	w := newWorld(t, setup{providers: size(t, "ATHD_RUNTIME_PROVIDERS", 100, 10_000)})
	c, err := w.hold("another", "127.0.0.1")
	if err == nil {
		err = w.add(0, "another", "127.0.0.1")
	}
	if err != nil {
		t.Fatal(err)
	}
	for envoy := range w.Envoy { // it is there, and connections are open, before anything is measured
		w.await(t, envoy, c)
	}
	w.window(t, c, window/3, nil)

	windows := size(t, "ATHD_RUNTIME_WINDOWS", 1, 21)
	p99 := map[bool]figures.Times{}
	calls, failed, changes := 0, 0, 0
	for i := range windows {
		for _, changing := range []bool{i%2 == 0, i%2 != 0} { // interleaved, and neither always first
			var change func(int)
			if changing {
				change = w.changes(t, i, &changes)
			}
			took, bad := w.window(t, c, window, change)
			calls, failed = calls+len(took)+bad, failed+bad
			p99[changing] = append(p99[changing], took.P99())
		}
	}
	if failed > 0 || changes < 3*windows {
		t.Errorf("%d of %d calls failed; %d changes", failed, calls, changes)
	}
	with, without := p99[true].At(0.5), p99[false].At(0.5)
	ratio := float64(with) / float64(without)
	t.Logf("%d calls, %d failed, beside %d changes; p99 of %d windows: with changes %s; without %s; %.2f", calls, failed, changes, windows, p99[true], p99[false], ratio)
	if full() {
		figures.Errors.Seen(t, failed == 0, "%d of %d calls, beside %d changes", failed, calls, changes)
		figures.Steady.Seen(t, ratio <= goalSteady, "%.2f: %v with %d changes a second, %v without; medians of %d windows of %v", ratio, with, time.Second/changeEvery, without, windows, window)
	}
}

// changes returns what makes the changes of one window: each adds, changes or
// removes one of its providers.
func (w *world) changes(t *testing.T, n int, made *int) func(int) {
	return func(i int) {
		id, at := fmt.Sprintf("beside-%d-%d", n, i/3), i/3%2
		var err error
		switch i % 3 {
		case 0:
			err = w.add(at, id, "127.0.0.1")
		case 1:
			err = w.change(at, id, "127.0.0.1")
		case 2:
			err = w.remove(at, id)
		}
		if err != nil {
			t.Errorf("%s: %v", id, err)
		}
		*made++
	}
}

// window calls at a steady rate for a while, whatever the answers take, and
// returns how long each took from when it was due. In make test, where no figure is
// wanted, a machine that cannot keep up takes longer: a few calls are under way.
// Meanwhile change is called every now and then, unless it is nil: three times at
// least, so that one of each kind is.
func (w *world) window(t *testing.T, c caller, during time.Duration, change func(int)) (took figures.Times, failed int) {
	t.Helper()
	var all sync.WaitGroup
	var stop atomic.Bool
	if change != nil {
		all.Go(func() {
			for i, next := 0, time.Now(); i < 3 || !stop.Load(); i++ {
				time.Sleep(time.Until(next))
				change(i)
				next = next.Add(changeEvery)
			}
		})
	}
	n := int(during.Seconds() * rate)
	took = make(figures.Times, n)
	bad := make([]error, n)
	var calls sync.WaitGroup
	slots := make(chan struct{}, size(t, "ATHD_RUNTIME_CALLS", 8, n))
	for i, due := 0, time.Now(); i < n; i, due = i+1, due.Add(time.Second/rate) {
		time.Sleep(time.Until(due)) // the rate is what is wanted
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			status, body, err := w.call(i%2, c)
			took[i] = time.Since(due)
			if err != nil || status != http.StatusOK {
				bad[i] = fmt.Errorf("%d %s, %v", status, body, err) //nolint:errorlint // it may be nil
			}
		})
	}
	calls.Wait()
	stop.Store(true)
	all.Wait()
	for _, err := range bad {
		if err != nil {
			failed++
			t.Errorf("a call of another provider: %v", err)
		}
	}
	return took, failed
}

// await waits until calls of a provider reach it through an Envoy.
func (w *world) await(t *testing.T, envoy int, c caller) {
	t.Helper()
	for end := time.Now().Add(lost); ; time.Sleep(10 * time.Millisecond) {
		status, body, err := w.call(envoy, c)
		if err == nil && status == http.StatusOK {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is not there through Envoy %d: %d %s, %v", c.provider, envoy, status, body, err)
		}
	}
}

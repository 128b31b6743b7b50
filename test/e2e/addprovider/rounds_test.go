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

// The goals of make bench-runtime, and what make test takes for broken.
const (
	goalAsked = 10 * time.Millisecond
	goalOther = 250 * time.Millisecond
	lost      = 30 * time.Second
)

// A provider that is added, changed or removed at one athd is so for calls
// through its Envoy when the operator has the answer, and soon through the
// other athd's; no Envoy is told anything.
// proves: O-1
func TestChangesTakeEffectThroughEveryEnvoy(t *testing.T) {
	t.Run("few providers", func(t *testing.T) {
		newWorld(t, setup{}).rounds(t, figures.Asked, figures.Other)
	})
	t.Run("many providers", func(t *testing.T) {
		many := size(t, "ATHD_RUNTIME_PROVIDERS", 100, 10_000)
		newWorld(t, setup{providers: many}).rounds(t, figures.AskedMany, figures.OtherMany)
	})
}

// rounds adds, changes and removes one provider after the other, by turns at
// either athd.
func (w *world) rounds(t *testing.T, asked, other figures.Figure) {
	n := size(t, "ATHD_RUNTIME_ROUNDS", 4, 50)
	took := map[string]*[2]figures.Times{"added": {}, "changed": {}, "removed": {}}
	var all [2]figures.Times
	for i := range n {
		id, at := fmt.Sprintf("round-%d", i), i%2
		c, err := w.hold(id, "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			name string
			do   func() error
			was  func(status int, body string) bool
			is   func(status int, body string) bool
		}{
			{"added", func() error { return w.add(at, id, "127.0.0.1") }, refused, answers("/v1/things/7")},
			{"changed", func() error { return w.change(at, id, "127.0.0.1") }, answers("/v1/things/7"), answers("/v2/things/7")},
			{"removed", func() error { return w.remove(at, id) }, answers("/v2/things/7"), refused},
		} {
			seen := w.measure(t, at, c, step.name, step.do, step.was, step.is)
			for who, d := range seen {
				took[step.name][who] = append(took[step.name][who], d)
				all[who] = append(all[who], d)
			}
		}
	}
	for _, name := range []string{"added", "changed", "removed"} {
		t.Logf("%d × %s: asked athd %s; other athd %s", n, name, took[name][0], took[name][1])
	}
	if !full() {
		return
	}
	asked.Seen(t, all[0].P99() <= goalAsked, "%s", all[0])
	other.Seen(t, all[1].P99() <= goalOther, "%s", all[1])
}

// measure makes a change at one athd, and returns how long it took from the
// operator's request until calls through its Envoy, and through the other's, go
// by it. Until then they go by what was before, and once the operator has the
// answer, through that athd's Envoy they go by nothing else.
func (w *world) measure(t *testing.T, at int, c caller, name string, do func() error, was, is func(int, string) bool) (seen [2]time.Duration) {
	t.Helper()
	var all sync.WaitGroup
	var failed atomic.Bool
	start := time.Now()
	watch := func(envoy int, atOnce bool) time.Duration {
		for !failed.Load() {
			status, body, err := w.call(envoy, c)
			took := time.Since(start)
			switch {
			case err == nil && is(status, body):
				return took
			case err != nil || !was(status, body):
				t.Errorf("%s: %s: through Envoy %d: %d %s, %v", c.provider, name, envoy, status, body, err)
				return took
			case atOnce:
				t.Errorf("%s: %s: the operator has the answer, and a call through that athd's Envoy goes by what was before: %d %s", c.provider, name, status, body)
				return took
			case took > lost:
				t.Errorf("%s: %s: not in effect through Envoy %d after %v", c.provider, name, envoy, took)
				return took
			}
			time.Sleep(time.Millisecond) // between two looks, which are calls as any
		}
		return 0
	}
	all.Go(func() { seen[1] = watch(1-at, false) })
	if err := do(); err != nil {
		failed.Store(true)
		all.Wait()
		t.Fatalf("%s: %s: %v", c.provider, name, err)
	}
	seen[0] = watch(at, true)
	all.Wait()
	return seen
}

func answers(path string) func(int, string) bool {
	return func(status int, body string) bool { return status == http.StatusOK && body == path }
}

// refused is what an agent gets whose provider is not there, or whose user's
// connection ended with it.
func refused(status int, _ string) bool {
	return status == http.StatusForbidden || status == http.StatusUnauthorized
}

package reload

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
)

// A load calls APIs and the companion through Envoy, again and again. Each answer
// that is not 200 is a failure.
type load struct {
	stop context.CancelFunc
	all  sync.WaitGroup

	mu     sync.Mutex
	calls  int
	failed map[string]int
}

// perCaller is the pause between two calls of one caller.
const perCaller = 10 * time.Millisecond

func start(t *testing.T, requests ...func(context.Context) *http.Request) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop, failed: map[string]int{}}
	for _, request := range requests {
		l.all.Go(func() {
			by := &http.Transport{}
			defer by.CloseIdleConnections()
			tick := time.NewTicker(perCaller)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				l.note(by, request(context.WithoutCancel(ctx)))
			}
		})
	}
	return l
}

func (l *load) note(by http.RoundTripper, r *http.Request) {
	what := ""
	resp, err := by.RoundTrip(r)
	if err == nil {
		var body []byte
		body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			what = fmt.Sprintf("%s: %d %.200s", r.URL.Path, resp.StatusCode, body)
		}
	}
	if err != nil {
		what = err.Error()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls++; what != "" {
		l.failed[what]++
	}
}

// end ends the load, and fails the test where somebody noticed.
func (l *load) end(t *testing.T, least int) {
	t.Helper()
	l.stop()
	l.all.Wait()
	t.Logf("%d calls, %d kinds of failures", l.calls, len(l.failed))
	for what, n := range l.failed {
		t.Errorf("%d times %s", n, what)
	}
	if l.calls < least {
		t.Errorf("only %d calls were made", l.calls)
	}
}

// call is a call of an agent's at a path of Envoy's.
func call(t *testing.T, s *stage.Stage, c *client.Client, token client.Token, path string) func(context.Context) *http.Request {
	t.Helper()
	return func(ctx context.Context) *http.Request {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Public+path, nil)
		if err != nil {
			panic(err)
		}
		if c != nil {
			r.Header.Set("Authorization", "Bearer "+token.Access.Reveal())
			r.Header.Set("X-ATH-Agent-ID", c.Agent().ID())
		}
		return r
	}
}

// readiness is what athd says of itself.
func readiness(t *testing.T, a *stage.Athd) api.Readiness {
	t.Helper()
	var r api.Readiness
	_, body := a.Get("/readyz")
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return r
}

// await waits until athd says of its configuration what is wanted.
func await(t *testing.T, s *stage.Stage, what string, holds func(api.ReadinessCheck, []string) bool) {
	t.Helper()
	var r api.Readiness
	files := ""
	if read := snapshot(s); read.Settings != nil {
		files = read.Digest
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if r = readiness(t, s.Athd); holds(r.Checks["configuration"], r.Warnings) {
			return
		}
	}
	t.Fatalf("%s: never, but %+v, and the files have %s; %q", what, r.Checks["configuration"], files, r.Warnings)
}

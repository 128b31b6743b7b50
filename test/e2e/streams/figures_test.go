package streams

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/figures"
	"github.com/athd/athd/test/harness/streams"
)

const (
	goalHere    = 20 * time.Millisecond
	goalThere   = 100 * time.Millisecond
	goalExpired = 50 * time.Millisecond
)

// quietly are kinds of which a hundred leave a machine idle: they say something
// twice a second.
var quietly = []string{
	"events over HTTP/1", "events over HTTP/2", "download over HTTP/1", "download over HTTP/2",
	"download over HTTP/1 with its length", "download over HTTP/2 with its length", "long poll over HTTP/1", "long poll over HTTP/2",
}

func (w *world) quiet(t *testing.T, i int, life time.Duration) *trial {
	t.Helper()
	x := &trial{kind: streams.Find(quietly[i%len(quietly)])}
	x.h = w.hold(appOf(x.kind), life)
	c := w.through(0, x.h)
	c.Every = "500ms"
	if x.s, x.err = x.kind.Open(context.WithoutCancel(t.Context()), w.api, c); x.err != nil {
		t.Fatalf("%s: %v", x.kind.Name, x.err)
	}
	return x
}

// How soon a stream ends, of a hundred: revoked at either athd, and at the end of its
// token; then once more while every processor is busy. Beside other tests it is of a
// few streams, which must end, and held to no figure.
func TestHowSoonStreamsEnd(t *testing.T) {
	atOnce, trials, warm := len(quietly), len(quietly), 2
	if full() {
		atOnce, trials, warm = 100, 200, 20
	}
	w := newWorld(t, setup{envoy: watched[0].envoy})
	open := make([]*trial, atOnce)
	for i := range open {
		open[i] = w.quiet(t, i, time.Hour)
	}
	revoked := func(n int) (took [2]figures.Times) {
		for i := range n {
			at, who := i%2, rand.IntN(len(open))
			x := open[who]
			if end, ok := x.s.Wait(time.Now()); ok {
				t.Fatalf("%s ended by itself: %s", x.kind.Name, end)
			}
			asked := time.Now()
			if err := w.revoke(at, x.h, x.h.token.Secret()); err != nil {
				t.Fatal(err)
			}
			end, ok := x.s.Wait(asked.Add(lost))
			if !ok {
				t.Fatalf("%s goes on %v after it was revoked at athd %d", x.kind.Name, lost, at)
			}
			took[at] = append(took[at], end.At.Sub(asked))
			open[who] = w.quiet(t, who, time.Hour)
		}
		return took
	}
	revoked(warm) // connections are open before anything is measured
	idle := revoked(2 * trials)
	figures.RevokedHere.Seen(t, !full() || idle[0].P99() <= goalHere, "%s", idle[0])
	figures.RevokedThere.Seen(t, !full() || idle[1].P99() <= goalThere, "%s", idle[1])

	var over figures.Times
	for len(over) < trials {
		const each = 20 * time.Millisecond // apart, so that none waits for another
		all := make([]*trial, atOnce)
		for i := range all {
			all[i] = w.quiet(t, i, 3*time.Second+time.Duration(i)*each)
		}
		for _, x := range all {
			end, ok := x.s.Wait(x.h.expires.Add(lost))
			if !ok {
				t.Fatalf("%s goes on %v after its token", x.kind.Name, lost)
			}
			over = append(over, end.At.Sub(x.h.expires))
		}
	}
	figures.Expired.Seen(t, !full() || over.P99() <= goalExpired, "%s", over)

	if !full() {
		return
	}
	for range runtime.NumCPU() {
		busy := exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done")
		if err := busy.Start(); err != nil {
			t.Fatal(err)
		}
		defer busy.Wait()
		defer busy.Process.Kill()
	}
	busy := revoked(2 * trials)
	figures.BusyHere.Seen(t, true, "%s", busy[0])
	figures.BusyThere.Seen(t, true, "%s", busy[1])
}

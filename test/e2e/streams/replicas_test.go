package streams

import (
	"testing"
	"time"

	"github.com/athd/athd/test/harness/streams"
)

// Where an Envoy asks several athd, one of them may have judged what another one
// watches: it ends whichever is told. One that goes takes along what it watches, or
// leaves it, as it is configured; nothing that is opened meanwhile is refused, and
// the others watch on.
// proves: V-4
func TestAnyReplicaWatches(t *testing.T) {
	const n = 24
	k := streams.Find("events over HTTP/2")
	for _, onLoss := range []string{"end", "keep"} {
		t.Run(onLoss, func(t *testing.T) {
			w := newWorld(t, setup{envoy: "streams: watched, streams_on_loss: " + onLoss, shared: true, drain: "2s"})
			open := func(n int) (all []*trial) {
				for i := range n {
					all = append(all, &trial{kind: k, asked: i % 2, h: w.hold("two", time.Hour)})
				}
				w.openAll(t, all)
				return all
			}
			revoke := func(all []*trial, at func(*trial) int) {
				t.Helper()
				for _, x := range all {
					if err := w.revoke(at(x), x.h, x.h.token.Secret()); err != nil {
						t.Fatal(err)
					}
					if _, ok := x.s.Wait(time.Now().Add(fault)); !ok {
						t.Errorf("it goes on %v after it was revoked at athd %d", fault, at(x))
					}
				}
			}
			revoke(open(n), func(x *trial) int { return x.asked })

			all := open(n)
			stopped := make(chan error, 1)
			go func() { stopped <- w.Athd[0].Stop() }()
			for going := true; going; {
				h := w.hold("two", time.Hour)
				s, err := k.Open(t.Context(), w.api, w.through(0, h))
				if err != nil {
					t.Errorf("opened while an athd drains: %v", err)
				} else {
					s.Close()
				}
				select {
				case err := <-stopped:
					if err != nil {
						t.Errorf("athd: %v", err)
					}
					going = false
				case <-time.After(10 * time.Millisecond):
				}
			}
			var left []*trial
			for _, x := range all {
				if _, ok := x.s.Wait(time.Now().Add(100 * time.Millisecond)); !ok {
					left = append(left, x)
				}
			}
			if onLoss == "keep" && len(left) != n || onLoss == "end" && (len(left) == n || len(left) == 0) {
				t.Errorf("%d of %d go on", len(left), n)
			}
			if onLoss == "end" {
				revoke(left, func(*trial) int { return 1 })
			}
			revoke(open(4), func(*trial) int { return 1 })
		})
	}
}

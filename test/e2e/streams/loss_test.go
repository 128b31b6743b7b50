package streams

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/streams"
)

// A loss is of the athd that watches, or of what it needs.
type loss struct {
	name string
	do   func(w *world)
	// With streams_on_loss: end, exchanges end this long after it, and no sooner.
	sooner, later time.Duration
}

const (
	drain = time.Second
	// away is how long athd may be unable to ask Redis before exchanges end.
	away = 5 * time.Second
)

var losses = []loss{
	{"killed", func(w *world) { w.Athd[0].Kill() }, 0, fault},
	{"drained", func(w *world) {
		go func() { w.Athd[0].Stop() }()
	}, 0, drain + fault},
	{"frozen", func(w *world) {
		w.Athd[0].Signal(syscall.SIGSTOP)
		w.t.Cleanup(func() { w.Athd[0].Signal(syscall.SIGCONT) })
	}, 0, lost},
	{"Redis gone", func(w *world) { w.redis.Kill() }, away / 2, away + lost},
	{"Redis silent", func(w *world) { w.redis.Pause(); w.t.Cleanup(w.redis.Resume) }, away / 2, away + lost},
}

// Without the athd that watches, or without Redis for longer than a few seconds,
// exchanges end, or go on until their token ends, as it is configured.
func TestExchangesWithoutWhoWatchesThem(t *testing.T) {
	for i, how := range watched {
		if i > 0 && !whole() {
			break
		}
		t.Run(how.name, func(t *testing.T) {
			var seen table
			for _, l := range losses {
				if l.name == "Redis silent" && !whole() {
					continue
				}
				t.Run("end, "+l.name, func(t *testing.T) {
					w := newWorld(t, setup{envoy: how.envoy + ", streams_on_loss: end", drain: drain.String()})
					var all []*trial
					for _, k := range some() {
						all = append(all, &trial{kind: k, h: w.hold(appOf(k), time.Hour)}, &trial{kind: k, envoy: 1, h: w.hold(appOf(k), time.Hour)})
					}
					w.openAll(t, all)
					since := time.Now()
					l.do(w)
					both := strings.HasPrefix(l.name, "Redis")
					ended(t, &seen, l.name, since, l.later, all, func(x *trial) bool { return both || x.envoy == 0 })
					for _, x := range all {
						if end, ok := x.s.Wait(time.Now()); ok && end.At.Sub(since) < l.sooner {
							t.Errorf("%s ended after %v already", x.kind.Name, end.At.Sub(since))
						}
					}
				})
				t.Run("keep, "+l.name, func(t *testing.T) {
					w := newWorld(t, setup{envoy: how.envoy + ", streams_on_loss: keep", drain: drain.String()})
					var all []*trial
					for _, k := range some() {
						all = append(all, &trial{kind: k, h: w.hold(appOf(k), away+3*time.Second)})
					}
					w.openAll(t, all)
					l.do(w)
					for _, x := range all {
						end, ok := x.s.Wait(x.h.expires.Add(lost))
						if !ok {
							t.Errorf("%s goes on %v after its token", x.kind.Name, lost)
							continue
						}
						after := end.At.Sub(x.h.expires)
						seen.seen(x.kind.Name, l.name+", kept, after its token", ms(after))
						if after < -100*time.Millisecond || after > fault {
							t.Errorf("%s ended %v after its token: %s", x.kind.Name, after, end)
						}
					}
				})
			}
			if whole() {
				seen.print(t, "From the loss until the client saw the end; "+how.name)
			}
		})
	}
}

// What is revoked while an athd cannot ask Redis ends there when it can again: with
// keep whatever the time, with end if that is sooner than the end for want of Redis.
// proves: V-4
func TestWhatIsRevokedMeanwhileEndsWhenRedisIsBack(t *testing.T) {
	for _, loss := range []string{"end", "keep"} {
		t.Run(loss, func(t *testing.T) {
			w := newWorld(t, setup{envoy: "streams: watched, streams_on_loss: " + loss, wired: true})
			k := streams.Find("events over HTTP/2")
			gone, stays := w.hold("two", time.Hour), w.hold("two", time.Hour)
			s, other := w.start(t, k, 0, gone), w.start(t, k, 0, stays)
			w.wire.Cut()
			if err := w.revoke(1, gone, gone.token.Secret()); err != nil {
				t.Fatal(err)
			}
			if end, ok := s.Wait(time.Now()); ok {
				t.Fatalf("it ended without anybody who knew: %s", end)
			}
			w.wire.Heal()
			since := time.Now()
			end, ok := s.Wait(since.Add(fault))
			if !ok {
				t.Fatalf("it goes on %v after Redis was back", fault)
			}
			t.Logf("ended %v after Redis was back", end.At.Sub(since))
			// An end for want of Redis would have been the other one's too.
			w.stillBrings(t, other, end.At)
		})
	}
}

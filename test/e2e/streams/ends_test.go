package streams

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/streams"
)

// fault is how late an end is a fault on any machine, however busy; what it is to be
// on an idle one make bench-streams says. It is less than the minute after which athd
// judges anew what nothing happened to.
const fault = 15 * time.Second

// The configurations in which exchanges are watched, by the filter that judges.
var watched = []struct{ name, envoy string }{
	{"ext_authz", "streams: watched"},
	{"ext_proc", "streams: watched, filter: ext_proc"},
}

// kindsFor is what an event is tried on: in make test all kinds for one event, and
// some of them for each of the others.
func kindsFor(event int) []streams.Kind {
	all := streams.Kinds()
	if whole() || event == 0 {
		return all
	}
	return []streams.Kind{all[event%len(all)], all[(event*4+2)%len(all)]}
}

// A trial is one exchange, and what is seen of it.
type trial struct {
	kind  streams.Kind
	envoy int // through which it goes, and whose athd watches it
	asked int // the athd that is told to end it; -1: none
	h     *holder
	s     *streams.Stream
	err   error
}

// trials opens exchanges through the first Envoy: of each kind one for each athd
// that can be asked, and one that nothing happens to.
func (w *world) trials(t *testing.T, kinds []streams.Kind, ats ...int) (all []*trial, beside []*streams.Stream) {
	t.Helper()
	for _, k := range kinds {
		for _, at := range append(ats, -1) {
			all = append(all, &trial{kind: k, asked: at, h: w.hold(appOf(k), time.Hour)})
		}
	}
	w.openAll(t, all)
	left := all[:0]
	for _, x := range all {
		if x.asked < 0 {
			beside = append(beside, x.s)
		} else {
			left = append(left, x)
		}
	}
	return left, beside
}

// openAll opens the exchanges of trials, all at once.
func (w *world) openAll(t *testing.T, all []*trial) {
	t.Helper()
	var opening sync.WaitGroup
	for _, x := range all {
		opening.Go(func() { x.s, x.err = x.kind.Open(w.t.Context(), w.api, w.through(x.envoy, x.h)) })
	}
	opening.Wait()
	for _, x := range all {
		if x.err != nil {
			t.Fatalf("%s: %v", x.kind.Name, x.err)
		}
		t.Cleanup(x.s.Close)
	}
}

// goOn fails the test where one of these has ended, or brings nothing any more.
func goOn(t *testing.T, of string, all []*streams.Stream) {
	t.Helper()
	for _, s := range all {
		if end, ok := s.Wait(time.Now()); ok {
			t.Errorf("%s: an exchange of somebody else (%s) ended too: %s", of, s.Kind, end)
		}
	}
}

// stillBrings wants something to come by an exchange well after a moment.
func (w *world) stillBrings(t *testing.T, s *streams.Stream, moment time.Time) {
	t.Helper()
	for end := time.Now().Add(lost); s.Last().Before(moment.Add(200 * time.Millisecond)); {
		if seen, ok := s.Wait(time.Now().Add(10 * time.Millisecond)); ok {
			t.Fatalf("an exchange of somebody else (%s) ended too: %s", s.Kind, seen)
		}
		if time.Now().After(end) {
			t.Fatalf("%s brings nothing any more", s.Kind)
		}
	}
}

// An exchange ends when what it stands on does, whatever kind it is of and
// whichever athd is told; those of others go on.
// proves: V-2, V-4
func TestExchangesEndWithWhatTheyStandOn(t *testing.T) {
	for i, how := range watched {
		t.Run(how.name, func(t *testing.T) {
			w := newWorld(t, setup{envoy: how.envoy})
			var seen table
			for n, e := range events() {
				if i > 0 && n > 0 && !whole() {
					break
				}
				t.Run(e.name, func(t *testing.T) {
					all, beside := w.trials(t, kindsFor(n), 0, 1)
					for _, x := range all {
						if end, ok := x.s.Wait(time.Now()); ok {
							t.Fatalf("%s ended before anything happened: %s", x.kind.Name, end)
						}
						asked := time.Now()
						if err := e.do(w, x.asked, x.h, x.kind); err != nil {
							t.Fatal(err)
						}
						end, ok := x.s.Wait(asked.Add(fault))
						if !ok {
							t.Errorf("%s at athd %d: %s goes on after %v", e.name, x.asked, x.kind.Name, fault)
							continue
						}
						seen.seen(x.kind.Name, e.name, ms(end.At.Sub(asked)))
						seen.once(x.kind.Name, "how", end.How)
					}
					goOn(t, e.name, beside)
				})
			}
			if whole() {
				seen.print(t, "From the request until the client saw the end, at the athd that watches / at the other one; "+how.name)
			}
			w.noneLeft(t)
		})
	}
}

// noneLeft waits until the API has none of the exchanges any more, but those that a
// test left open.
func (w *world) noneLeft(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(lost); w.api.Open() != 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%d exchanges go on at the API", w.api.Open())
			return
		}
	}
}

// Taking a scope away ends what it covered, and nothing else.
// proves: T-2
func TestAnExchangeGoesOnWithoutAScopeThatItDoesNotNeed(t *testing.T) {
	w := newWorld(t, setup{envoy: watched[0].envoy})
	h := w.hold("two", time.Hour)
	events, upload := w.start(t, streams.Find("events over HTTP/2"), 0, h), w.start(t, streams.Find("upload over HTTP/2"), 0, h)
	for _, step := range []struct {
		scope string
		ends  *streams.Stream
		stay  []*streams.Stream
	}{
		{"streams:other", nil, []*streams.Stream{events, upload}},
		{"streams:write", upload, []*streams.Stream{events}},
		{"streams:read", events, nil},
	} {
		asked := time.Now()
		if err := w.deny(1, h, step.scope); err != nil {
			t.Fatal(err)
		}
		if step.ends == nil {
			// Whoever is looked at again is so before this one, whose end is waited for.
			other := w.hold("two", time.Hour)
			after := w.start(t, streams.Find("events over HTTP/2"), 0, other)
			if err := w.revoke(1, other, other.token.Secret()); err != nil {
				t.Fatal(err)
			}
			if _, ok := after.Wait(asked.Add(fault)); !ok {
				t.Fatal("an exchange goes on after its token was revoked")
			}
		} else if _, ok := step.ends.Wait(asked.Add(fault)); !ok {
			t.Errorf("%s goes on without %s", step.ends.Kind, step.scope)
		}
		goOn(t, fmt.Sprintf("without %s", step.scope), step.stay)
	}
}

package identityhosts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
)

// agent returns an honest agent that development allows at loopback, and its
// replicas' shared store and clock.
func (w *world) agent(t *testing.T) (*host, *shared) {
	t.Helper()
	h := w.newHost(t, w.name())
	h.serveTLS(w.settings)
	w.dns.add(h.name, at("127.0.0.1"))
	return h, newShared()
}

// fetches counts how often hosts are asked.
func (w *world) fetches(t *testing.T, table *table) {
	start := func(parallel bool, name, want string, f func(t *testing.T) (got string, connections int)) {
		row := table.row(name, want)
		t.Run(name, func(t *testing.T) {
			if parallel {
				t.Parallel()
				w.turn(t)
			}
			start := time.Now()
			row.got, row.connections = f(t)
			row.took = time.Since(start)
			if row.got != want {
				t.Errorf("got %s, want %s", row.got, want)
			}
		})
	}
	run := func(name, want string, f func(t *testing.T) (got string, connections int)) {
		start(true, name, want, f)
	}
	alone := func(name, want string, f func(t *testing.T) (got string, connections int)) {
		start(false, name, want, f)
	}
	run("A-6: 64 verifications at once", "64 accepted, 1 connection", func(t *testing.T) (string, int) {
		h, s := w.agent(t)
		return h.together(s, 64, w.verifier(t, s, true))
	})
	run("A-6: 64 verifications at once over two replicas", "64 accepted, 2 connections", func(t *testing.T) (string, int) {
		h, s := w.agent(t)
		return h.together(s, 64, w.verifier(t, s, true), w.verifier(t, s, true))
	})
	run("A-6: 64 verifications at once, the host fails", "0 accepted, 1 connection", func(t *testing.T) (string, int) {
		h, s := w.agent(t)
		h.answer(http.NotFound)
		return h.together(s, 64, w.verifier(t, s, true))
	})
	alone("A-6: 40 agents of one host at once", "40 accepted, 4 at a time", func(t *testing.T) (string, int) { return w.crowd(t, 40) })
	alone("A-6: an honest host while 512 slow ones are asked", "accepted", func(t *testing.T) (string, int) { return w.slowHosts(t, 512) })

	run("A-6: a document is fresh for 5 minutes", counts(1, 1, 2), func(t *testing.T) (string, int) {
		h, s := w.agent(t)
		h.answer(withHeader("Cache-Control", "max-age=86400, immutable")(h))
		return h.count(t, s, w.verifier(t, s, true), 0, 5*time.Minute-time.Second, time.Second)
	})
	run("A-6: or for as long as it says", counts(1, 1, 2), func(t *testing.T) (string, int) {
		h, s := w.agent(t)
		h.answer(withHeader("Cache-Control", "max-age=60")(h))
		return h.count(t, s, w.verifier(t, s, true), 0, 59*time.Second, time.Second)
	})
	run("A-6: but for 10 seconds at least", counts(1, 1, 2), func(t *testing.T) (string, int) {
		h, s := w.agent(t)
		h.answer(withHeader("Cache-Control", "no-store, max-age=0", "Expires", "0", "Age", "999999")(h))
		return h.count(t, s, w.verifier(t, s, true), 0, 9*time.Second, time.Second)
	})
	run("A-6: a failure is kept for 5 seconds", counts(1, 1, 2), func(t *testing.T) (string, int) {
		h, s := w.agent(t)
		h.answer(http.NotFound)
		return h.count(t, s, w.verifier(t, s, true), 0, 4*time.Second, time.Second)
	})
	run("A-6: a name that leads to loopback is looked up once in 5 seconds", counts(1, 1, 2), func(t *testing.T) (string, int) {
		h, s := w.agent(t)
		v := w.verifier(t, s, false)
		var lookups []int
		for _, d := range []time.Duration{0, 4 * time.Second, time.Second} {
			s.pass(d)
			if _, err := h.verify(v, s, h.key); err == nil {
				t.Error("accepted")
			}
			lookups = append(lookups, w.dns.lookups(h.name))
		}
		return counts(lookups...), len(h.connections())
	})
	run("A-6: forgeries at two replicas: one fetch past the cache in a minute", counts(2, 3, 3, 4), func(t *testing.T) (string, int) { return w.forgeries(t) })
	run("A-6: a new key is seen at once, at one replica", "new key accepted, old key refused", func(t *testing.T) (string, int) { return w.newKeySeen(t) })
}

func counts(fetches ...int) string { return fmt.Sprint("fetches so far: ", fetches) }

// count verifies after each of some times, and returns how often the host had
// been asked by then.
func (h *host) count(t *testing.T, s *shared, v *attest.Verifier, after ...time.Duration) (string, int) {
	var fetches []int
	for _, d := range after {
		s.pass(d)
		h.verify(v, s, h.key)
		fetches = append(fetches, h.requests())
	}
	return counts(fetches...), len(h.connections())
}

// together has n attestations verified at once, spread over the verifiers. The
// host answers no sooner than all have been asked for.
func (h *host) together(s *shared, n int, verifiers ...*attest.Verifier) (string, int) {
	started := make(chan struct{})
	h.mu.Lock()
	before := h.handler
	h.mu.Unlock()
	h.answer(func(w http.ResponseWriter, r *http.Request) {
		<-started
		if before != nil {
			before(w, r)
			return
		}
		w.Write(h.document())
	})
	var begun, done sync.WaitGroup
	var accepted atomic.Int32
	begun.Add(n)
	for i := range n {
		done.Go(func() {
			compact := h.attest(h.id, h.key, audience, s.now())
			begun.Done()
			if _, err := verifiers[i%len(verifiers)].Verify(h.t.Context(), compact, attest.Expect{Agent: h.id, Audiences: []string{audience}}); err == nil {
				accepted.Add(1)
			}
		})
	}
	begun.Wait()
	close(started)
	done.Wait()
	connections := len(h.connections())
	plural := "s"
	if connections == 1 {
		plural = ""
	}
	return fmt.Sprintf("%d accepted, %d connection%s", accepted.Load(), connections, plural), connections
}

// crowd has n agents of one host verified at once, and returns how many of
// them the host was asked for at a time.
func (w *world) crowd(t *testing.T, n int) (string, int) {
	h, s := w.agent(t)
	v := w.verifier(t, s, true)
	var underWay, most, accepted atomic.Int32
	h.answer(func(w http.ResponseWriter, r *http.Request) {
		now := underWay.Add(1)
		defer underWay.Add(-1)
		for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
		}
		time.Sleep(20 * time.Millisecond) // long enough to meet others
		id, err := ath.ParseAgentID("https://"+r.Host+r.URL.Path, false)
		if err != nil {
			return
		}
		w.Write(documentOf(id, jwkOf(&h.key.PublicKey)))
	})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			id, err := ath.ParseAgentID(fmt.Sprintf("%s/agent-%d.json", h.id.Origin(), i), false)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := v.Verify(t.Context(), h.attest(id, h.key, audience, s.now()), attest.Expect{Agent: id, Audiences: []string{audience}}); err != nil {
				t.Error(err)
				return
			}
			accepted.Add(1)
		})
	}
	wg.Wait()
	return fmt.Sprintf("%d accepted, %d at a time", accepted.Load(), most.Load()), len(h.connections())
}

// slowHosts asks n hosts that take connections and say nothing, and then an
// honest one.
func (w *world) slowHosts(t *testing.T, n int) (string, int) {
	slow, s := w.newHost(t, w.name()), newShared()
	v := w.verifier(t, s, true)
	full := make(chan struct{})
	var taken atomic.Int32
	go slow.serve(func(conn net.Conn) {
		defer conn.Close()
		if taken.Add(1) == 32 {
			close(full)
		}
		io.Copy(io.Discard, conn)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var begun, done sync.WaitGroup
	begun.Add(n)
	for range n {
		name := w.name()
		id := slow.idAt(name)
		w.dns.add(name, at("127.0.0.1"))
		compact := slow.attest(id, slow.key, audience, s.now())
		done.Go(func() {
			begun.Done()
			if _, err := v.Verify(ctx, compact, attest.Expect{Agent: id, Audiences: []string{audience}}); err == nil {
				t.Error("a host that does not answer was accepted")
			}
		})
	}
	begun.Wait()
	<-full
	honest, _ := w.agent(t)
	start := time.Now()
	identity, err := honest.verify(v, s, honest.key)
	t.Logf("the honest host's agent waited %v", time.Since(start))
	cancel()
	done.Wait()
	return outcome(t, identity, err), len(honest.connections())
}

// forgeries sends attestations by another key to two replicas.
func (w *world) forgeries(t *testing.T) (string, int) {
	h, s := w.agent(t)
	verifiers := []*attest.Verifier{w.verifier(t, s, true), w.verifier(t, s, true)}
	for _, v := range verifiers {
		if _, err := h.verify(v, s, h.key); err != nil {
			t.Fatal(err)
		}
	}
	fetches := []int{h.requests()}
	thief := newKey(t)
	for _, d := range []time.Duration{0, 59 * time.Second, time.Second} {
		s.pass(d)
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				_, err := h.verify(verifiers[i%2], s, thief)
				if e, ok := errors.AsType[*attest.Error](err); !ok || e.Reason != attest.Signature {
					t.Errorf("a forgery: got %v", err)
				}
			})
		}
		wg.Wait()
		fetches = append(fetches, h.requests())
	}
	return counts(fetches...), len(h.connections())
}

// newKeySeen changes the agent's key while its document is fresh.
func (w *world) newKeySeen(t *testing.T) (string, int) {
	h, s := w.agent(t)
	v := w.verifier(t, s, true)
	if _, err := h.verify(v, s, h.key); err != nil {
		t.Fatal(err)
	}
	fresh := newKey(t)
	h.publish(fresh)
	got := "new key refused"
	if _, err := h.verify(v, s, fresh); err == nil {
		got = "new key accepted"
	}
	if _, err := h.verify(v, s, h.key); err != nil {
		return got + ", old key refused", len(h.connections())
	}
	return got + ", old key accepted", len(h.connections())
}

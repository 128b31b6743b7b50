package replicas

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// requestsPerSecond is the load while replicas come and go.
const requestsPerSecond = 300

// traffic is calls, and now and then a handshake's request, at a fixed rate.
type traffic struct {
	asked, failed atomic.Int64
	late          atomic.Int64 // registrations answered after more than soon
	mu            sync.Mutex
	how           map[string]int // failures, by what was answered
	stop          context.CancelFunc
	all           sync.WaitGroup
}

// soon is the longest that whoever sends a request should have to wait.
const soon = 5 * time.Second

// startTraffic begins. A registration is waited for as long as patience, and
// anything else as long as soon.
func (p *pair) startTraffic(t *testing.T, patience time.Duration) *traffic {
	t.Helper()
	l := &load{}
	if !l.walk(p, p.direct[0], p.direct[1], false) {
		t.Fatalf("the handshake does not work: %+v", l.moments)
	}
	caller := l.actions[len(l.actions)-1]
	ctx, stop := context.WithCancel(t.Context())
	f := &traffic{how: map[string]int{}, stop: stop}
	one := func(n int) {
		f.asked.Add(1)
		kind, want, limit := "call", http.StatusOK, soon
		if n%50 == 25 {
			limit = patience
		}
		// A request that has begun is waited for.
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		began := time.Now()
		var r reply
		switch n % 50 {
		case 0:
			kind, r = "discovery", p.send(within, "GET", p.public+"/.well-known/ath.json", nil, nil)
		case 25:
			kind, want = "registration", http.StatusCreated
			_, r = p.registered(within, p.public)
		default:
			r = p.call(within, caller.actor, caller.token)
		}
		if time.Since(began) > soon {
			f.late.Add(1)
		}
		if r.status == want {
			return
		}
		f.failed.Add(1)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.how[fmt.Sprintf("%s: %d %s %v", kind, r.status, r.code, r.err)]++
	}
	f.all.Go(func() {
		tick := time.NewTicker(time.Second / requestsPerSecond)
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				f.all.Go(func() { one(n) })
			}
		}
	})
	return f
}

// run lets the traffic go on until so many more requests were made.
func (f *traffic) run(more int64) {
	for until := f.asked.Load() + more; f.asked.Load() < until; {
		time.Sleep(5 * time.Millisecond)
	}
}

// TestAReplicaGoesAndNoRequestFails restarts both athd behind one Envoy, one
// after the other, and takes one away without a word, under load.
//
// By default it is a short while; ATHD_REQUESTS says how many requests are
// made over each event (10000 for the whole of N-1).
//
// N-1
func TestAReplicaGoesAndNoRequestFails(t *testing.T) {
	each := int64(900) // three seconds
	if text := os.Getenv("ATHD_REQUESTS"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < each {
			t.Fatalf("ATHD_REQUESTS is %q, want at least %d", text, each)
		}
		each = n
	}
	drain := "2s"
	if each > 2000 {
		drain = "5s"
	}
	for _, asks := range []string{"filter: ext_authz", "filter: ext_proc"} {
		t.Run(asks, func(t *testing.T) {
			server := realredis.Start(t)
			p := newPair(t, store{yaml: fmt.Sprintf("url: %q", server.URL()), settings: tokenstore.Config{URL: server.URL()}, drain: drain, asks: asks})
			p.Client.Timeout = 0 // each request says for itself
			p.replicasGo(t, each, asks == "filter: ext_proc")
		})
	}
}

// replicasGo has them go, in each way. A stream of ext_proc that is open is asked of
// no other replica: so until Envoy's health checks have found out that one hangs,
// what meets it is refused, after the time-out of a message, registrations too: they
// have arrived nowhere. That is over when the replica is back, at the latest.
func (p *pair) replicasGo(t *testing.T, each int64, byExtProc bool) {
	for _, event := range []struct {
		name     string
		patience time.Duration
		do       func(t *testing.T, f *traffic)
	}{
		{"both are restarted, one after the other", soon, func(t *testing.T, f *traffic) {
			for i := range p.Athd {
				f.run(each / 6)
				if err := p.Athd[i].Stop(); err != nil {
					t.Errorf("athd ended with %v", err)
				}
				p.start(i)
				f.run(each / 3)
			}
		}},
		{"one is killed and stays away", soon, func(_ *testing.T, f *traffic) {
			f.run(each / 6)
			p.Athd[0].Kill()
			f.run(each / 2)
			p.start(0)
			f.run(each / 3)
		}},
		// Envoy sends no registration twice that may have arrived, since its
		// attestation is good for one: those that are on their way to a
		// replica when it hangs are answered when it comes back. Whatever changes
		// nothing is asked of the other one.
		{"one hangs and comes back", 60 * time.Second, func(_ *testing.T, f *traffic) {
			f.run(each / 6)
			p.Athd[1].Signal(syscall.SIGSTOP)
			f.run(each / 2)
			p.Athd[1].Signal(syscall.SIGCONT)
			f.run(each / 3)
		}},
	} {
		t.Run(event.name, func(t *testing.T) {
			f := p.startTraffic(t, event.patience)
			event.do(t, f)
			f.stop()
			f.all.Wait()
			t.Logf("%d requests, %d failed; %d registrations were answered after more than %v", f.asked.Load(), f.failed.Load(), f.late.Load(), soon)
			refused := int64(f.how["call: 503 INTERNAL_ERROR <nil>"] + f.how["registration: 503 INTERNAL_ERROR <nil>"])
			bounded := refused < f.asked.Load()*2/3 // it hangs for half of them, and some are on their way
			for how, n := range f.how {
				if byExtProc && bounded && strings.HasSuffix(event.name, "hangs and comes back") && strings.HasSuffix(how, ": 503 INTERNAL_ERROR <nil>") {
					t.Logf("%d times: %s", n, how)
					continue
				}
				t.Errorf("%d times: %s", n, how)
			}
		})
	}
}

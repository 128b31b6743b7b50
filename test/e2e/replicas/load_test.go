package replicas

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"
)

const loadClients = 8

// A action is something that athd acknowledged, and so must not be lost.
type action struct {
	*actor
	token   string
	asked   bool // to revoke it
	revoked bool // which was acknowledged
}

// A moment is one answer that a client of the load got.
type moment struct {
	at     time.Time
	kind   string // handshake, call or revocation
	status int    // 0: none within 5 s
	code   string
}

// A load is a handful of agents that go through the handshake, call and
// revoke, again and again, and note every answer.
type load struct {
	mu      sync.Mutex
	moments []moment
	actions []*action
	live    *action // a token that is not revoked

	stop context.CancelFunc
	all  sync.WaitGroup
}

// startLoad returns once one agent has a token that nobody will revoke.
func (p *pair) startLoad(t *testing.T) *load {
	t.Helper()
	l := &load{}
	for end := time.Now().Add(5 * time.Second); !l.walk(p, p.direct[0], p.direct[1], false); {
		if time.Now().After(end) {
			t.Fatal("the handshake does not work before the fault")
		}
	}
	l.live = l.actions[len(l.actions)-1]
	l.moments = nil
	// The requests themselves are not cut off at the end: each gets an answer.
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	for i := range loadClients {
		l.all.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				if !l.walk(p, p.direct[n%2], p.direct[(n/2)%2], n%2 == 0) {
					time.Sleep(5 * time.Millisecond) // less than Retry-After asks for, so as to see the first success
				}
			}
		})
	}
	return l
}

// end stops the load and waits for its last answers.
func (l *load) end() {
	l.stop()
	l.all.Wait()
}

func (l *load) note(kind string, r reply, want int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moments = append(l.moments, moment{time.Now(), kind, r.status, r.code})
	return r.status == want
}

func (l *load) did(d *action) *action {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.actions = append(l.actions, d)
	return d
}

// walk is one agent's life. It ends at the first answer that is not the
// wanted one.
func (l *load) walk(p *pair, one, other string, revoke bool) bool {
	ctx := context.WithoutCancel(p.t.Context())
	a, r := p.registered(ctx, one)
	if !l.note("handshake", r, http.StatusCreated) {
		return false
	}
	l.did(&action{actor: a})
	r = p.authorize(ctx, other, a, p.attest(a, ""))
	if !l.note("handshake", r, http.StatusOK) {
		return false
	}
	s := session{actor: a, id: r.text("ath_session_id"), state: stateOf(r), upstream: "code-" + stateOf(r)}
	r = p.callback(ctx, one, s.allowed())
	if !l.note("handshake", r, http.StatusFound) {
		return false
	}
	r = p.token(ctx, other, a, p.attest(a, "/ath/token"), s.id, codeOf(r))
	if !l.note("handshake", r, http.StatusOK) {
		return false
	}
	d := l.did(&action{actor: a, token: r.text("access_token")})
	for range 3 {
		if !l.note("call", p.call(ctx, a, d.token), http.StatusOK) {
			return false
		}
	}
	if !revoke {
		return true
	}
	d.asked = true
	d.revoked = l.note("revocation", p.revoke(ctx, one, a, d.token), http.StatusOK)
	return d.revoked
}

// first returns how long after from the first moment came that match wants;
// -1 if none did.
func (l *load) first(from time.Time, match func(moment) bool) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	best := time.Duration(-1)
	for _, m := range l.moments {
		if took := m.at.Sub(from); took >= 0 && match(m) && (best < 0 || took < best) {
			best = took
		}
	}
	return best
}

func (l *load) count(match func(moment) bool) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.moments {
		if match(m) {
			n++
		}
	}
	return n
}

func refused(m moment) bool { return m.status == http.StatusServiceUnavailable }

func succeeded(kind string) func(moment) bool {
	return func(m moment) bool { return m.kind == kind && m.status >= 200 && m.status < 400 }
}

// wrong is an answer that says more than "not now" of what was right.
func wrong(m moment) bool { return m.status >= 400 && m.status != http.StatusServiceUnavailable }

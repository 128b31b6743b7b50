package refresh

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/leak"
)

// An endpoint is a provider's token endpoint that says when a call is under way,
// and whose it is: each athd has a client secret of its own. Its refresh tokens are
// good for one use, and a second use ends the grant, as at the strictest servers.
type endpoint struct {
	url   string
	asked chan string // secrets of who calls, as their calls begin

	mu    sync.Mutex
	hold  time.Duration // how long it works on a call
	lines map[string]*line
}

// A line is one user's grant, as the provider knows it.
type line struct {
	current             string
	ended               bool
	calls, running, top int
}

func newEndpoint(t testing.TB) *endpoint {
	t.Helper()
	e := &endpoint{asked: make(chan string, 1000), lines: map[string]*line{}}
	s := httptest.NewServer(leak.Of(t).Handler(e))
	t.Cleanup(s.Close)
	e.url = s.URL + "/token"
	return e
}

// grant begins a line.
func (e *endpoint) grant() (refresh string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := &line{current: "refresh-" + rand.Text()}
	e.lines[l.current] = l
	return l.current
}

// of is the line of a refresh token.
func (e *endpoint) of(refresh string) line {
	e.mu.Lock()
	defer e.mu.Unlock()
	return *e.lines[refresh]
}

// good reports whether a refresh token is the present one of a line that lives.
func (e *endpoint) good(refresh string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.lines[refresh]
	return l != nil && !l.ended && l.current == refresh
}

// works sets how long it works on each call.
func (e *endpoint) works(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hold = d
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	used, caller := r.PostFormValue("refresh_token"), r.PostFormValue("client_secret")
	if _, secret, basic := r.BasicAuth(); basic {
		caller = secret
	}
	e.mu.Lock()
	l, hold := e.lines[used], e.hold
	if l == nil {
		e.mu.Unlock()
		http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
		return
	}
	l.calls++
	l.running++
	l.top = max(l.top, l.running)
	e.mu.Unlock()
	e.asked <- caller
	<-time.After(hold) // its work, whether or not the caller is still there
	e.mu.Lock()
	defer e.mu.Unlock()
	l.running--
	if r.Context().Err() != nil {
		return // nobody is there for new tokens: the old one stays good
	}
	w.Header().Set("Content-Type", "application/json")
	if l.ended || l.current != used {
		l.ended = true
		w.WriteHeader(http.StatusBadRequest)
		w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	l.current = "refresh-" + rand.Text()
	e.lines[l.current] = l
	json.NewEncoder(w).Encode(map[string]any{
		"access_token": "access-" + rand.Text(), "token_type": "Bearer", "expires_in": 3600, "refresh_token": l.current,
	})
}

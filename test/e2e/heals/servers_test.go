package heals

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/leak"
)

// An oauth is a provider's OAuth server. Its refresh tokens are good for one use, and
// a second use ends the grant; each refresh ends the access token before.
type oauth struct {
	*httptest.Server
	mu        sync.Mutex
	lines     map[string]*line // by refresh token, spent ones too
	live      map[string]bool  // access tokens
	secrets   *leak.Watch
	refreshes int
	asked     int           // userinfo
	works     time.Duration // on each refresh
}

type line struct {
	refresh, access string
	ended           bool
}

func newOAuth(t *testing.T) *oauth {
	o := &oauth{lines: map[string]*line{}, live: map[string]bool{}, secrets: leak.Of(t)}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

// grant begins a line.
func (o *oauth) grant() (access, refresh string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := &line{}
	o.next(l)
	return l.access, l.refresh
}

func (o *oauth) next(l *line) {
	delete(o.live, l.access)
	l.access, l.refresh = "access-"+rand.Text(), "refresh-"+rand.Text()
	o.live[l.access], o.lines[l.refresh] = true, l
	o.secrets.Secret("a user's access token", l.access)
	o.secrets.Secret("a user's refresh token", l.refresh)
}

// lose ends an access token, and nothing else, as a server does that lost its state.
func (o *oauth) lose(access string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.live, access)
}

// end ends a grant.
func (o *oauth) end(refresh string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines[refresh].ended = true
	delete(o.live, o.lines[refresh].access)
}

func (o *oauth) takes(r *http.Request) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.live[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
}

func (o *oauth) alive(refresh string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lines[refresh]
	return l != nil && !l.ended && l.refresh == refresh
}

// count is how often it was asked for tokens, and about one.
func (o *oauth) count() (refreshes, userinfo int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.refreshes, o.asked
}

func (o *oauth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/userinfo" {
		o.mu.Lock()
		o.asked++
		o.mu.Unlock()
		if !o.takes(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Write([]byte(`{"sub":"somebody"}`))
		return
	}
	o.mu.Lock()
	o.refreshes++
	works := o.works
	o.mu.Unlock()
	time.Sleep(works)
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lines[r.PostFormValue("refresh_token")]
	if l == nil || l.ended || l.refresh != r.PostFormValue("refresh_token") {
		if l != nil {
			l.ended = true
		}
		w.WriteHeader(http.StatusBadRequest)
		w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	o.next(l)
	json.NewEncoder(w).Encode(map[string]any{"access_token": l.access, "refresh_token": l.refresh, "token_type": "Bearer", "expires_in": 3600})
}

// An api takes the tokens that its oauth server gave and has not ended, by HTTP/1.1 and
// HTTP/2. What paths begin with says how it answers nevertheless.
type api struct {
	addr  string
	oauth *oauth
	mu    sync.Mutex
	seen  []*http.Request
}

func newAPI(t *testing.T, o *oauth) *api {
	a := &api{oauth: o}
	s := httptest.NewUnstartedServer(a)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	a.addr = s.Listener.Addr().String()
	return a
}

const rejection = "the API's own words"

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.seen = append(a.seen, r.Clone(r.Context()))
	a.mu.Unlock()
	w.Header().Set("X-Ath-Retry", "1") // which only Envoy says
	switch {
	case strings.HasPrefix(r.URL.Path, "/always"):
	case strings.HasPrefix(r.URL.Path, "/scope"):
		w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="insufficient_scope", scope="things:admin"`)
	case strings.HasPrefix(r.URL.Path, "/fails"):
		w.WriteHeader(http.StatusBadGateway)
		return
	case a.oauth.takes(r) && strings.HasPrefix(r.URL.Path, "/echo"):
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		w.Header().Set("X-Kept", "yes")
		w.Header().Set("Trailer", "X-Late")
		w.Write([]byte("taken"))
		w.Header().Set("X-Late", r.Header.Get("Authorization"))
	case a.oauth.takes(r):
		body, _ := io.ReadAll(r.Body)
		w.Write([]byte("taken " + string(body)))
		return
	case strings.HasPrefix(r.URL.Path, "/early"):
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // else net/http reads the body first
		}
	default:
		io.Copy(io.Discard, r.Body)
	}
	if w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="invalid_token"`)
	}
	w.WriteHeader(http.StatusUnauthorized)
	io.WriteString(w, rejection)
}

// calls are those below a path, since the last time.
func (a *api) calls(path string) (out []*http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var rest []*http.Request
	for _, r := range a.seen {
		if strings.HasPrefix(r.URL.Path, path) {
			out = append(out, r)
		} else {
			rest = append(rest, r)
		}
	}
	a.seen = rest
	return out
}

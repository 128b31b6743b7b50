package main

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// A clockedServer is an OAuth server whose time is the test's. Refresh tokens are
// good for one use, end when nobody uses them for idle, and a second use ends all.
// It says nothing of when they end, as most servers do not.
type clockedServer struct {
	*httptest.Server
	now  func() time.Time
	life time.Duration // of access tokens
	idle time.Duration // of refresh tokens

	mu      sync.Mutex
	user    string // who sits before the browser
	lines   map[string]*clockedLine
	reused  int
	expired int // refresh tokens that came too late
}

// A clockedLine is one grant of one user, which all its codes and tokens lead to.
type clockedLine struct {
	user      string
	code      string
	refresh   string
	used      time.Time
	dead      bool
	refreshes int
	access    map[string]time.Time // until when
}

func newClockedServer(t *testing.T, now func() time.Time, life, idle time.Duration) *clockedServer {
	s := &clockedServer{now: now, life: life, idle: idle, lines: map[string]*clockedLine{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /authorize", s.authorize)
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("POST /revoke", s.revoke)
	mux.HandleFunc("GET /userinfo", s.userinfo)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// authorize is answered by who sits there, who has agreed to all.
func (s *clockedServer) authorize(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &clockedLine{user: s.user, code: "code-" + rand.Text(), access: map[string]time.Time{}}
	s.lines[l.code] = l
	to := r.FormValue("redirect_uri") + "?" + url.Values{"code": {l.code}, "state": {r.FormValue("state")}}.Encode()
	http.Redirect(w, r, to, http.StatusFound)
}

func (s *clockedServer) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	used, now := r.PostFormValue("refresh_token"), s.now()
	if r.PostFormValue("grant_type") == "authorization_code" {
		used = r.PostFormValue("code")
	}
	l := s.lines[used]
	switch {
	case l == nil:
	case l.dead:
	case used != l.code && used != l.refresh || used == l.code && l.refresh != "":
		s.reused++
		l.dead = true
	case !l.used.IsZero() && now.Sub(l.used) >= s.idle:
		s.expired++
		l.dead = true
	}
	if l == nil || l.dead {
		w.WriteHeader(http.StatusBadRequest)
		w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	if used == l.refresh {
		l.refreshes++
	}
	access := "access-" + rand.Text()
	l.refresh, l.used = "refresh-"+rand.Text(), now
	l.access[access] = now.Add(s.life)
	s.lines[l.refresh] = l
	s.lines[access] = l
	json.NewEncoder(w).Encode(map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": s.life.Seconds(), "refresh_token": l.refresh,
	})
}

func (s *clockedServer) revoke(_ http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lines[r.PostFormValue("token")]; l != nil {
		l.dead = true
	}
}

func (s *clockedServer) userinfo(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !s.takes(token) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	json.NewEncoder(w).Encode(map[string]any{"sub": s.lines[token].user})
}

// takes reports whether the API would take an access token now.
func (s *clockedServer) takes(access string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[access]
	return l != nil && !l.dead && s.now().Before(l.access[access])
}

// of returns what became of a user's grants, newest state of each.
func (s *clockedServer) of(user string) (found []clockedLine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text, l := range s.lines {
		if l.user == user && text == l.code {
			found = append(found, *l)
		}
	}
	return found
}

// end is what a user does in the account settings.
func (s *clockedServer) end(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		l.dead = l.dead || l.user == user
	}
}

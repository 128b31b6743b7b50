package standins

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"slices"
	"time"
)

// turns is what a server knows of refresh tokens.
type turns struct {
	life      time.Duration // of access tokens, in place of what the service documents; 0: as documented
	lines     map[string]*line
	refreshes []Refresh
	reused    int
}

// A Refresh is one that a server has granted.
type Refresh struct {
	Scope  string // as it was sent; "": none
	Token  string // the refresh token that was sent
	Access string // the new access token
}

// A line is all tokens that come of one consent.
type line struct {
	Grant
	current string   // the refresh token that is good
	access  []string // all access tokens
	dead    bool
}

type issued struct {
	line *line
	dies time.Time // zero: never
}

// rotation is what a service does at a refresh.
type rotation struct {
	keeps       bool // the refresh token stays the same, and is in no reply
	oldStays    bool // the refresh token before stays good
	reuseEnds   bool // one that comes twice ends the line
	accessEnds  bool // the access token before is dead at once
	documented  time.Duration
	refreshLife time.Duration
}

// Hasten has access tokens end after d, and the server say so.
func (s *Server) Hasten(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life = d
}

// End is the user's: she takes her consent back at the service. All tokens are dead.
func (s *Server) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.held {
		h.line.dead = true
	}
}

// Refreshes returns what was granted, and how many refresh tokens came twice.
func (s *Server) Refreshes() (granted []Refresh, reused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refreshes), s.reused
}

// lasts is how long access tokens live.
func (s *Server) lasts(documented time.Duration) time.Duration {
	if s.life > 0 {
		return s.life
	}
	return documented
}

// issue returns an access token. The caller holds the lock.
func (s *Server) issue(l *line, life time.Duration) string {
	token := "token-" + rand.Text()
	h := issued{line: l}
	if life > 0 {
		h.dies = time.Now().Add(life)
	}
	s.held[token], l.access = h, append(l.access, token)
	return token
}

// alive reports whether an access token is good. The caller holds the lock.
func (s *Server) alive(token string) bool {
	h, ok := s.held[token]
	return ok && !h.line.dead && slices.Contains(h.line.access, token) && (h.dies.IsZero() || time.Now().Before(h.dies))
}

// revoke ends all tokens of an access token's line, and reports whether it was alive.
func (s *Server) revoke(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.alive(token)
	if was {
		s.held[token].line.dead = true
	}
	return was
}

// hasten gives an access token that has just been issued its end.
func (s *Server) hasten(access string, documented time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	life := s.lasts(documented)
	s.held[access] = issued{s.held[access].line, time.Now().Add(life)}
	return life
}

// begin gives a refresh token to the line of an access token that has just been
// issued, and the token its end.
func (s *Server) begin(access string, r rotation) (refresh string, seconds int) {
	life := s.hasten(access, r.documented)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.held[access].line
	l.current = "refresh-" + rand.Text()
	s.lines[l.current] = l
	return l.current, int(life.Seconds())
}

// turn refreshes. next is "" where the reply has no refresh token; ok is false
// where the token is refused.
func (s *Server) turn(refresh, scope string, r rotation) (l *line, access, next string, seconds int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l = s.lines[refresh]
	switch {
	case l == nil || l.dead:
		return nil, "", "", 0, false
	case l.current != refresh && !r.oldStays:
		s.reused++
		l.dead = l.dead || r.reuseEnds
		return nil, "", "", 0, false
	}
	if r.accessEnds {
		l.access = nil
	}
	life := s.lasts(r.documented)
	access = s.issue(l, life)
	if !r.keeps {
		next = "refresh-" + rand.Text()
		l.current, s.lines[next] = next, l
	}
	s.refreshes = append(s.refreshes, Refresh{Scope: scope, Token: refresh, Access: access})
	return l, access, next, int(life.Seconds()), true
}

// refreshing returns the refresh token of a request that is one for a refresh,
// and what is wrong with its client; both "" for any other request.
func (s *Server) refreshing(r *http.Request, badClient string) (refresh, problem string) {
	if r.ParseForm() != nil || r.PostForm.Get("grant_type") != "refresh_token" {
		return "", ""
	}
	if r.PostForm.Get("client_id") != ClientID || r.PostForm.Get("client_secret") != ClientSecret {
		return "", badClient
	}
	return cmp.Or(r.PostForm.Get("refresh_token"), "none"), ""
}

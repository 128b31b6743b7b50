package oauthserver

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/luikyv/go-oidc/pkg/goidc"
)

// Where things are, below the issuer.
const (
	pathAuthorize = "/authorize"
	pathToken     = "/token"
	pathRevoke    = "/revoke"
	pathUserInfo  = "/userinfo"
	pathAsk       = "/introspect"
	pathOpenID    = "/.well-known/openid-configuration"
	pathOAuth     = "/.well-known/oauth-authorization-server"
)

// maxBody is the longest request body, in bytes.
const maxBody = 64 << 10

// A Server is an authorization server. It implements [http.Handler].
type Server struct {
	config  Config
	clock   func() time.Time
	store   *store
	pages   *template.Template
	library http.Handler
	mux     *http.ServeMux

	// protocol lets the library do one thing at a time: it reads a grant and
	// writes it back in two calls, and two refreshes at once would both win.
	protocol sync.Mutex

	mu     sync.Mutex
	habits Habits
	stats  Stats
}

// Stats count what has happened since the server was made.
type Stats struct {
	CodeRedemptions int // codes exchanged for tokens
	Refreshes       int // refresh tokens exchanged
	Revocations     int // calls of the revocation endpoint answered with 200
	RefreshReuses   int // lines of refresh tokens ended because a spent one came back
}

// New returns a server for a configuration, or says what is wrong with it.
func New(config Config) (*Server, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	s := &Server{
		config: config,
		clock:  config.Clock,
		mux:    http.NewServeMux(),
		habits: config.Habits,
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	var err error
	if s.store, err = openStore(config.File); err != nil {
		return nil, fmt.Errorf("oauthserver: %w", err)
	}
	if s.pages, err = template.New("pages").Parse(pagesHTML); err != nil {
		return nil, fmt.Errorf("oauthserver: %w", err)
	}
	library, err := s.provider()
	if err != nil {
		return nil, fmt.Errorf("oauthserver: %w", err)
	}
	s.library = library.Handler()
	s.mux.HandleFunc("POST "+pathToken, s.serveToken)
	s.mux.HandleFunc("POST "+pathRevoke, s.serveRevoke)
	s.mux.HandleFunc("POST "+pathAsk, s.serveIntrospect)
	s.mux.HandleFunc("GET "+pathUserInfo, s.serveUserInfo)
	s.mux.HandleFunc("POST "+pathUserInfo, s.serveUserInfo)
	s.mux.HandleFunc("GET "+pathOAuth, func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.URL.Path = pathOpenID
		s.serveLibrary(w, r)
	})
	s.mux.HandleFunc("/", s.serveLibrary)
	return s, nil
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	// Read here, before anything is locked: a slow client waits alone.
	if err := r.ParseForm(); err != nil {
		s.writeError(w, http.StatusBadRequest, "The request cannot be read.")
		return
	}
	s.mux.ServeHTTP(w, r)
}

// Lookup says whose an access token is and what it may do. The scopes are
// those of the user's consent. It is what the shop asks on every request.
func (s *Server) Lookup(accessToken string) (user string, scopes []string, ok bool) {
	token, grant, ok := s.store.live(accessToken, s.clock())
	if !ok {
		return "", nil, false
	}
	return grant.Subject, strings.Fields(token.Scopes), true
}

// Whose says whose an access token is or was: also one that has ended.
func (s *Server) Whose(accessToken string) (user string, ok bool) { return s.store.whose(accessToken) }

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.RefreshReuses = s.store.reuseCount()
	return stats
}

// SetHabits changes how the token endpoint answers from now on.
func (s *Server) SetHabits(h Habits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.habits = h
}

// Issued returns every code, access token and refresh token that was ever
// given out: what a test must find in no dump and no log.
func (s *Server) Issued() []string { return s.store.issued() }

func (s *Server) serveLibrary(w http.ResponseWriter, r *http.Request) {
	s.ask(r).sendTo(w)
}

// ask lets the library answer a request.
func (s *Server) ask(r *http.Request) *reply {
	answer := newReply()
	s.protocol.Lock()
	defer s.protocol.Unlock()
	s.library.ServeHTTP(answer, r)
	return answer
}

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	answer := s.ask(r)
	s.mu.Lock()
	habits := s.habits
	if answer.status == http.StatusOK {
		switch goidc.GrantType(r.PostFormValue("grant_type")) {
		case goidc.GrantAuthorizationCode:
			s.stats.CodeRedemptions++
		case goidc.GrantRefreshToken:
			s.stats.Refreshes++
		}
	}
	s.mu.Unlock()
	if err := habits.apply(answer, r.Header.Get("Accept")); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer.sendTo(w)
}

func (s *Server) serveRevoke(w http.ResponseWriter, r *http.Request) {
	answer := s.ask(r)
	if answer.status == http.StatusOK {
		s.mu.Lock()
		s.stats.Revocations++
		s.mu.Unlock()
	}
	answer.sendTo(w)
}

// serveUserInfo answers any live token, as a provider's "who am I" does; the
// library's own wants the scope openid.
func (s *Server) serveUserInfo(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	_, grant, ok := s.store.live(token, s.clock())
	if !strings.EqualFold(scheme, "Bearer") || !ok {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		http.Error(w, "no good token", http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]string{"sub": grant.Subject, "name": grant.Username})
}

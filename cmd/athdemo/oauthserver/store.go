package oauthserver

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/luikyv/go-oidc/pkg/goidc"
)

// store remembers sessions, grants and tokens for the library. It hands out
// copies and keeps copies, so that what a handler changes counts only once it
// is saved.
//
// A refresh token that has been replaced still leads to its grant: that is
// how its reuse is noticed.
type store struct {
	mu       sync.Mutex
	sessions map[string]goidc.AuthnSession
	grants   map[string]goidc.Grant
	tokens   map[string]goidc.Token
	codes    map[string]string // authorization code → grant
	refresh  map[string]string // refresh token, of now or of earlier → grant
	reuses   int
}

var (
	_ goidc.GrantManager        = (*store)(nil)
	_ goidc.AuthManager         = (*store)(nil)
	_ goidc.RefreshTokenManager = (*store)(nil)
	_ goidc.OpaqueTokenManager  = (*store)(nil)
)

func newStore() *store {
	return &store{
		sessions: map[string]goidc.AuthnSession{},
		grants:   map[string]goidc.Grant{},
		tokens:   map[string]goidc.Token{},
		codes:    map[string]string{},
		refresh:  map[string]string{},
	}
}

// SaveSession implements [goidc.AuthManager]. A session that is over is
// forgotten: the library would let its last page be submitted again.
func (s *store) SaveSession(_ context.Context, session *goidc.AuthnSession) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session.Status != goidc.StatusPending {
		delete(s.sessions, session.ID)
		return nil
	}
	kept := *session
	kept.Store = maps.Clone(session.Store)
	s.sessions[session.ID] = kept
	return nil
}

// Session implements [goidc.AuthManager].
func (s *store) Session(_ context.Context, id string) (*goidc.AuthnSession, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, ok := s.sessions[id]
	if !ok {
		return nil, goidc.ErrNotFound
	}
	session.Store = maps.Clone(session.Store)
	return &session, nil
}

// SaveGrant implements [goidc.GrantManager].
func (s *store) SaveGrant(_ context.Context, grant *goidc.Grant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grants[grant.ID] = *grant
	if grant.AuthCode != "" {
		s.codes[grant.AuthCode] = grant.ID
	}
	if grant.RefreshToken != "" {
		s.refresh[grant.RefreshToken] = grant.ID
	}
	return nil
}

// Grant implements [goidc.GrantManager].
func (s *store) Grant(_ context.Context, id string) (*goidc.Grant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grant(id)
}

// GrantByAuthCode implements [goidc.AuthManager].
func (s *store) GrantByAuthCode(_ context.Context, code string) (*goidc.Grant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grant(s.codes[code])
}

// GrantByRefreshToken implements [goidc.RefreshTokenManager]. A token that
// has been replaced ends the grant: whoever sends it, two hold the line of
// tokens, and one of them should not (RFC 9700, section 4.14.2).
func (s *store) GrantByRefreshToken(_ context.Context, token string) (*goidc.Grant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	grant, err := s.grant(s.refresh[token])
	if err != nil {
		return nil, err
	}
	if grant.RefreshToken != token && grant.RevokedAt == 0 {
		s.reuses++
		grant.RevokedAt = int(time.Now().Unix())
		s.grants[grant.ID] = *grant
	}
	return grant, nil
}

func (s *store) grant(id string) (*goidc.Grant, error) {
	grant, ok := s.grants[id]
	if !ok {
		return nil, goidc.ErrNotFound
	}
	return &grant, nil
}

// SaveToken implements [goidc.OpaqueTokenManager].
func (s *store) SaveToken(_ context.Context, token *goidc.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token.ID] = *token
	return nil
}

// Token implements [goidc.OpaqueTokenManager].
func (s *store) Token(_ context.Context, id string) (*goidc.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.tokens[id]
	if !ok {
		return nil, goidc.ErrNotFound
	}
	return &token, nil
}

// live returns an access token and its grant, if neither has ended at now.
func (s *store) live(accessToken string, now time.Time) (goidc.Token, goidc.Grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.tokens[accessToken]
	if !ok || token.RevokedAt != 0 || now.Unix() >= int64(token.ExpiresAt) {
		return goidc.Token{}, goidc.Grant{}, false
	}
	grant, ok := s.grants[token.GrantID]
	if !ok || grant.RevokedAt != 0 {
		return goidc.Token{}, goidc.Grant{}, false
	}
	return token, grant, true
}

// issued returns every code, access and refresh token that was ever given out.
func (s *store) issued() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(
		slices.Collect(maps.Keys(s.codes)),
		slices.Collect(maps.Keys(s.tokens)),
		slices.Collect(maps.Keys(s.refresh)))
}

func (s *store) reuseCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reuses
}

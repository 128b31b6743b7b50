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
	kept
	reuses int
	alone  map[string]bool // clients that have one grant for each user
	file   string          // where kept is written at each change; "": nowhere
}

var (
	_ goidc.GrantManager        = (*store)(nil)
	_ goidc.AuthManager         = (*store)(nil)
	_ goidc.RefreshTokenManager = (*store)(nil)
	_ goidc.OpaqueTokenManager  = (*store)(nil)
)

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
	if _, known := s.Grants[grant.ID]; !known && s.alone[grant.ClientID] {
		s.endOthers(grant)
	}
	s.Grants[grant.ID] = *grant
	if grant.AuthCode != "" {
		s.Codes[grant.AuthCode] = grant.ID
	}
	if grant.RefreshToken != "" {
		s.Refresh[grant.RefreshToken] = grant.ID
	}
	return s.save()
}

// endOthers ends what the client has of the user already.
func (s *store) endOthers(by *goidc.Grant) {
	for id, g := range s.Grants {
		if g.ClientID == by.ClientID && g.Subject == by.Subject && g.RevokedAt == 0 {
			g.RevokedAt = int(time.Now().Unix())
			s.Grants[id] = g
		}
	}
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
	return s.grant(s.Codes[code])
}

// GrantByRefreshToken implements [goidc.RefreshTokenManager]. A token that
// has been replaced ends the grant: whoever sends it, two hold the line of
// tokens, and one of them should not (RFC 9700, section 4.14.2).
func (s *store) GrantByRefreshToken(_ context.Context, token string) (*goidc.Grant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	grant, err := s.grant(s.Refresh[token])
	if err != nil {
		return nil, err
	}
	if grant.RefreshToken != token && grant.RevokedAt == 0 {
		s.reuses++
		grant.RevokedAt = int(time.Now().Unix())
		s.Grants[grant.ID] = *grant
		return grant, s.save()
	}
	return grant, nil
}

func (s *store) grant(id string) (*goidc.Grant, error) {
	grant, ok := s.Grants[id]
	if !ok {
		return nil, goidc.ErrNotFound
	}
	return &grant, nil
}

// SaveToken implements [goidc.OpaqueTokenManager].
func (s *store) SaveToken(_ context.Context, token *goidc.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Tokens[token.ID] = *token
	return s.save()
}

// Token implements [goidc.OpaqueTokenManager].
func (s *store) Token(_ context.Context, id string) (*goidc.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.Tokens[id]
	if !ok {
		return nil, goidc.ErrNotFound
	}
	return &token, nil
}

// live returns an access token and its grant, if neither has ended at now.
func (s *store) live(accessToken string, now time.Time) (goidc.Token, goidc.Grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.Tokens[accessToken]
	if !ok || token.RevokedAt != 0 || now.Unix() >= int64(token.ExpiresAt) {
		return goidc.Token{}, goidc.Grant{}, false
	}
	grant, ok := s.Grants[token.GrantID]
	if !ok || grant.RevokedAt != 0 {
		return goidc.Token{}, goidc.Grant{}, false
	}
	return token, grant, true
}

// whose says whose an access token is or was.
func (s *store) whose(accessToken string) (user string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.Tokens[accessToken]
	if !ok {
		return "", false
	}
	grant, ok := s.Grants[token.GrantID]
	return grant.Subject, ok
}

// issued returns every code, access and refresh token that was ever given out.
func (s *store) issued() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(
		slices.Collect(maps.Keys(s.Codes)),
		slices.Collect(maps.Keys(s.Tokens)),
		slices.Collect(maps.Keys(s.Refresh)))
}

func (s *store) reuseCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reuses
}

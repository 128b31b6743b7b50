package oauthserver

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/luikyv/go-oidc/pkg/goidc"
	"github.com/luikyv/go-oidc/pkg/provider"
)

const (
	defaultTTL    = time.Hour
	signingKeyID  = "demo"
	offlineAccess = "offline_access"
)

// provider sets the library up.
func (s *Server) provider() (*provider.Provider, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	keys := goidc.JSONWebKeySet{Keys: []goidc.JSONWebKey{{
		Key: key, KeyID: signingKeyID, Algorithm: string(goidc.SigAlgES256), Use: string(goidc.KeyUsageSignature),
	}}}
	ttl := int(cmp.Or(s.config.AccessTokenTTL, defaultTTL) / time.Second)
	refreshable := map[string]bool{}
	clients := make([]*goidc.Client, 0, len(s.config.Clients))
	var scopes []goidc.Scope
	for _, c := range s.config.Clients {
		clients = append(clients, c.registration())
		refreshable[c.ID] = c.AlwaysRefreshable
		s.store.alone[c.ID] = c.OneGrantPerUser
		for _, name := range c.Scopes {
			if !slices.ContainsFunc(scopes, func(known goidc.Scope) bool { return known.ID == name }) {
				scopes = append(scopes, goidc.NewScope(name))
			}
		}
	}
	options := []provider.Option{
		provider.WithStaticClients(clients...),
		provider.WithScopes(scopes...),
		provider.WithSecretPostAuthn(),
		provider.WithSecretBasicAuthn(),
		provider.WithAuthCodeGrant(
			provider.AuthCodeGrantConfig{Manager: s.store, ResponseTypes: []goidc.ResponseType{goidc.ResponseTypeCode}},
			provider.WithPKCE([]goidc.CodeChallengeMethod{goidc.CodeChallengeMethodSHA256}, provider.WithPKCERequired()),
			provider.WithIssuerResponseParameter(),
			provider.WithAuthPolicies(s.policy()),
			provider.WithAuthCodeFunc(func(context.Context) string { return "code_" + rand.Text() }),
		),
		provider.WithRefreshTokenGrant(s.store,
			provider.WithRefreshTokenRotation(),
			provider.WithRefreshTokenFunc(func(context.Context) string { return "refresh_" + rand.Text() + rand.Text() }),
			provider.WithRefreshTokenShouldIssue(func(_ context.Context, c *goidc.Client, g *goidc.Grant) bool {
				return refreshable[c.ID] || slices.Contains(strings.Fields(g.Scopes), offlineAccess)
			}),
		),
		provider.WithTokenOptions(
			func(context.Context, *goidc.Grant, *goidc.Client) goidc.TokenOptions {
				return goidc.NewOpaqueTokenOptions(ttl)
			},
			provider.WithOpaqueTokens(s.store),
			provider.WithOpaqueTokenFunc(func(context.Context, *goidc.Grant) string { return "user_" + rand.Text() + rand.Text() }),
		),
		provider.WithTokenRevocation(func(context.Context, *goidc.Client) bool { return true }),
		provider.WithIDTokenClaims(func(_ context.Context, g *goidc.Grant) map[string]any {
			return map[string]any{"name": g.Username}
		}),
		provider.WithErrorRenderer(s.renderError),
		// Nobody here authenticates by an assertion, which is what has a jti.
		provider.WithJTIConsumer(func(context.Context, string) error {
			return errors.New("assertions are not accepted")
		}),
	}
	if len(s.config.Resources) > 0 {
		options = append(options, provider.WithResourceIndicators(s.config.Resources))
	}
	return provider.New(provider.Config{
		Issuer:      s.config.Issuer,
		Manager:     s.store,
		JWKS:        func(context.Context) (goidc.JSONWebKeySet, error) { return keys, nil },
		IDTokenAlgs: []goidc.SignatureAlgorithm{goidc.SigAlgES256},
	}, options...)
}

// registration is what the library knows of a client.
func (c *Client) registration() *goidc.Client {
	return &goidc.Client{
		ID:     c.ID,
		Secret: c.Secret,
		ClientMeta: goidc.ClientMeta{
			Name:             cmp.Or(c.Name, c.ID),
			RedirectURIs:     slices.Clone(c.RedirectURIs),
			GrantTypes:       []goidc.GrantType{goidc.GrantAuthorizationCode, goidc.GrantRefreshToken},
			ResponseTypes:    []goidc.ResponseType{goidc.ResponseTypeCode},
			ScopeIDs:         strings.Join(c.Scopes, " "),
			TokenAuthnMethod: goidc.AuthnMethod(cmp.Or(c.AuthMethod, methodPost)),
		},
	}
}

// renderError is for faults that must not be sent on to the client: an
// unknown client or redirect URI, a session that is over.
func (s *Server) renderError(w http.ResponseWriter, _ *http.Request, err error) error {
	status, notice := http.StatusInternalServerError, "Something went wrong here."
	if oauth, ok := errors.AsType[goidc.Error](err); ok {
		status, notice = oauth.StatusCode(), oauth.Description
	}
	return s.writePage(w, status, "error", page{Title: "That did not work", Notice: notice})
}

package provider_test

import (
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/test/harness/standins"
)

// What each service makes of a refresh, of a refresh token that comes twice, and
// of the one that came of it; and that athd takes its refusal for what it is.
//
// proves: C-3, C-4
func TestRefreshAtEachService(t *testing.T) {
	const mail = "https://graph.microsoft.com/Mail.Read"
	own := func(s *standins.Server, more map[string]any) map[string]any {
		return withFields(map[string]any{"scope_rules": []any{}, "issuer": s.Issuer}, more)
	}
	auth0, clerk, entra, okta := standins.Auth0(t), standins.Clerk(t), standins.Entra(t), standins.Okta(t)
	audience := map[string]any{"extra_authorize_params": map[string]string{"audience": "https://api.example.com"}}
	for name, tt := range map[string]struct {
		server  *standins.Server
		more    map[string]any
		scope   string
		life    time.Duration // of the access token
		ends    time.Duration // of the refresh token; 0: the service does not say
		rotates bool
		again   bool // the token before stays good
		line    bool // a token that comes twice ends those that came of it
	}{
		"GitHub App":    {server: standins.GitHubApp(t), scope: "issues:read", life: 28800 * time.Second, ends: 15897600 * time.Second, rotates: true},
		"Google":        {server: standins.Google(t, "gmail"), scope: google + "gmail.readonly", life: 3599 * time.Second, again: true},
		"Google: email": {server: standins.Google(t, "gmail"), scope: "email", life: 3599 * time.Second, again: true},
		"Slack":         {server: standins.SlackRotating(t), scope: "users:read", life: 43200 * time.Second, rotates: true},
		"Slack: a bot":  {server: standins.SlackRotating(t), more: map[string]any{"token_kind": "bot"}, scope: "users:read", life: 43200 * time.Second, rotates: true},
		"Auth0":         {server: auth0, more: own(auth0, audience), scope: "products:read", life: 86400 * time.Second, rotates: true, line: true},
		"Clerk":         {server: clerk, more: own(clerk, nil), scope: "profile", life: 24 * time.Hour, rotates: true},
		"Entra":         {server: entra, more: own(entra, nil), scope: mail, life: 3599 * time.Second, rotates: true, again: true},
		"Okta":          {server: okta, more: own(okta, nil), scope: "orders:read", life: time.Hour, rotates: true, line: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := parseStandIn(t, tt.server, []string{tt.scope}, tt.more)
			first, err := grant(t, tt.server, p, ath.Scopes{tt.scope}, "")
			if err != nil || first.Refresh.IsZero() {
				t.Fatalf("%+v, %v", first, err)
			}
			c := provider.NewClient(provider.ClientConfig{AllowHTTP: true, Now: func() time.Time { return now }})
			refresh := func(token ath.Secret) (provider.Tokens, error) {
				return c.RefreshTokens(t.Context(), p, token, ath.Scopes{tt.scope})
			}
			second, err := refresh(first.Refresh)
			if err != nil || second.Access.Reveal() == first.Access.Reveal() || second.Refresh.IsZero() == tt.rotates {
				t.Fatalf("%+v, %v", second, err)
			}
			if _, ok := tt.server.Grant(second.Access.Reveal()); !ok || !second.Expires.Equal(now.Add(tt.life)) {
				t.Errorf("a token until %v", second.Expires)
			}
			if tt.ends > 0 && !second.RefreshExpires.Equal(now.Add(tt.ends)) || tt.ends == 0 && !second.RefreshExpires.IsZero() {
				t.Errorf("a refresh token until %v", second.RefreshExpires)
			}
			if second.ScopesGiven && !second.Scopes.Has(tt.scope) {
				t.Errorf("C-4: %q", second.Scopes)
			}
			if _, err = refresh(first.Refresh); tt.again != (err == nil) || err != nil && !p.RefusesRefresh(err) {
				t.Errorf("the token before: %v", err)
			}
			if tt.rotates {
				if _, err = refresh(second.Refresh); tt.line != (err != nil) || err != nil && !p.RefusesRefresh(err) {
					t.Errorf("what came of it: %v", err)
				}
			}
			tt.server.End()
			if _, err = refresh(first.Refresh); err == nil || !p.RefusesRefresh(err) {
				t.Errorf("after the user's end: %v", err)
			}
			// A wrong secret is about athd, and not about the user's grant.
			wrong := parseStandIn(t, tt.server, []string{tt.scope}, withFields(tt.more, map[string]any{"client_secret": "wrong"}))
			if _, err = c.RefreshTokens(t.Context(), wrong, first.Refresh, ath.Scopes{tt.scope}); err == nil || wrong.RefusesRefresh(err) {
				t.Errorf("a wrong secret: %v", err)
			}
		})
	}
}

// The stand-ins mind what the services mind: without the preset a user's grant
// ends with the access token, or the token is not for the API.
func TestServersOfOnesOwnNeedTheirPresets(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *standins.Server{"auth0": standins.Auth0, "clerk": standins.Clerk, "entra": standins.Entra, "okta": standins.Okta} {
		s := start(t)
		p := parseStandIn(t, s, []string{"https://graph.microsoft.com/Mail.Read"}, map[string]any{"preset": nil, "scope_rules": []any{}, "issuer": s.Issuer})
		got, err := grant(t, s, p, p.Scopes, "")
		if err != nil || !got.Refresh.IsZero() || got.User != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if name == "auth0" {
			if held, _ := s.Grant(got.Access.Reveal()); held.Kind != "userinfo" {
				t.Error("auth0: a token for an API that nobody named")
			}
		}
		if name != "entra" {
			continue
		}
		if got.Scopes.Has(p.Scopes[0]) {
			t.Errorf("entra: %q", got.Scopes)
		}
		p = parseStandIn(t, s, p.Scopes, map[string]any{"refresh_scope": false, "scope_rules": []any{}, "issuer": s.Issuer})
		if got, err = grant(t, s, p, p.Scopes, ""); err != nil || got.Refresh.IsZero() {
			t.Fatalf("entra: %+v, %v", got, err)
		}
		c := provider.NewClient(provider.ClientConfig{AllowHTTP: true})
		if _, err = c.RefreshTokens(t.Context(), p, got.Refresh, p.Scopes); err == nil || p.RefusesRefresh(err) {
			t.Errorf("entra: a refresh without scopes: %v", err)
		}
	}
}

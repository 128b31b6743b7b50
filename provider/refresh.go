package provider

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/athd/athd/ath"
)

// defaultMargin is how long before its end an access token is refreshed, if a
// fifth of its life is not less: some servers end the old one at once, with the
// calls that are under way.
const defaultMargin = time.Minute

// A RefreshPolicy is how a provider's tokens are refreshed.
type RefreshPolicy struct {
	Off        bool          // refresh: false
	Margin     time.Duration // refresh_margin; [DefaultMargin]: not said
	AuthMethod AuthMethod    // refresh_token_auth_method; "": as for codes
	SendScope  bool          // refresh_scope: the scopes are sent again
	Denied     []string      // refresh_denied_errors: what refuses a refresh token beside invalid_grant
	Idle       time.Duration // refresh_idle: how long an unused refresh token lives; 0: not said, [NeverIdle]: no end
}

// DefaultMargin is a minute, or a fifth of the token's life.
const DefaultMargin time.Duration = -1

const (
	// NeverIdle is of a server that ends no refresh token for not being used.
	NeverIdle time.Duration = -1
	// assumedIdle is shorter than what most servers allow.
	assumedIdle    = 7 * 24 * time.Hour
	minRefreshIdle = time.Second
	refreshNever   = "never"
)

// IdleLimit is how long a refresh token lives that nobody uses; 0: for as long as
// one that is used. told says that the server has named the token's end: then
// nothing is assumed beside it.
func (p *Provider) IdleLimit(told bool) time.Duration {
	switch {
	case p.Refresh.Idle != 0:
		return max(0, p.Refresh.Idle)
	case told:
		return 0
	}
	return assumedIdle
}

// Refreshable reports whether a connection with this refresh token can outlive
// its access token.
func (p *Provider) Refreshable(refresh ath.Secret) bool { return !p.Refresh.Off && !refresh.IsZero() }

// Margin is how long before its end a token of this life is refreshed: never
// more than half of the life. 0: not before its end.
func (p *Provider) Margin(life time.Duration) time.Duration {
	switch m := p.Refresh.Margin; {
	case m >= 0:
		return max(0, min(m, life/2))
	case life <= 0:
		return 0
	}
	return min(defaultMargin, life/5)
}

func (p *Provider) refreshMethod() AuthMethod { return cmp.Or(p.Refresh.AuthMethod, p.AuthMethod) }

// MaxMargin is the most that Margin returns.
func (p *Provider) MaxMargin() time.Duration {
	if p.Refresh.Margin >= 0 {
		return p.Refresh.Margin
	}
	return defaultMargin
}

// RefusesRefresh reports whether the provider has said that the refresh token is
// good no more. Nothing else says so: a wrong client secret, a server that is away
// or a reply that is none leave the user's grant as it is.
func (p *Provider) RefusesRefresh(err error) bool {
	e, ok := errors.AsType[*ExchangeError](err)
	if !ok || e.Status >= 500 || e.Status == http.StatusTooManyRequests {
		return false
	}
	return e.Code == "invalid_grant" || e.Code != "" && slices.Contains(p.Refresh.Denied, e.Code)
}

// RefreshTokens trades a refresh token for new tokens (RFC 6749, section 6). It is
// sent once; if no answer came it may be spent nevertheless, unless the error says
// [ExchangeError].Unsent. Of the reply, absent scope and refresh_token are normal:
// they stay as they were. scopes are those of the connection, for servers that want
// them again. Every error is an [*ExchangeError].
func (c *Client) RefreshTokens(ctx context.Context, p *Provider, refresh ath.Secret, scopes ath.Scopes) (Tokens, error) {
	call := &call{provider: p.ID, endpoint: "token endpoint", transport: c.to(p, p.TokenURL)}
	unsent := func(message string) (Tokens, error) {
		e := call.fault(message)
		e.Unsent = true
		return Tokens{}, e
	}
	switch {
	case p.TokenURL == nil:
		return unsent("is not known yet")
	case !c.mayPlain(p) && p.TokenURL.Scheme != "https":
		return unsent("is not an https URL")
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh.Reveal()}}
	// The server's replies name more than athd may ask for: scopes under other
	// names, and those that the user gave to somebody else's request. What was
	// asked beside the agent's is sent, too: without offline_access Entra gives no
	// further refresh token.
	if scopes = scopes.Intersect(p.Scopes); p.Refresh.SendScope && len(scopes) > 0 {
		form.Set("scope", strings.Join(p.asked(scopes), " "))
	}
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	r, err := call.token(ctx, p, form, p.refreshMethod())
	if err != nil {
		_, traced := call.transport.(*http.Transport)
		if e, ok := errors.AsType[*ExchangeError](err); ok {
			e.Unsent = traced && !connected.Load()
		}
		return Tokens{}, err
	}
	t, message := p.dialect.refreshed(r).tokens(c.now(), p.tokenTypes())
	if message != "" {
		return Tokens{}, call.fault(message)
	}
	t.idToken = r.idTokenOf()
	// An empty scope says nothing here: what has no scope left is refused.
	t.ScopesGiven = t.ScopesGiven && len(t.Scopes) > 0
	t.Scopes, t.ScopesGiven = p.consented(t.Scopes, t.ScopesGiven)
	return t, nil
}

// refreshed returns the part of the reply to a refresh that contains the tokens.
// Slack puts them at the top there, whoever they are for; their token_type says.
func (d *dialect) refreshed(r reply) reply {
	if part := d.grant(r); part["access_token"] != nil {
		return part
	}
	return r
}

// refreshExpires reads how long the refresh token lives: refresh_expires_in, as
// Keycloak says, or GitHub's refresh_token_expires_in. 0 is never. Whatever cannot
// be read is not known: nothing depends on it.
func (r reply) refreshExpires(now time.Time) time.Time {
	for _, name := range []string{"refresh_expires_in", "refresh_token_expires_in"} {
		if r[name] == nil {
			continue
		}
		end, _ := reply{"expires_in": r[name]}.expires(now)
		return end
	}
	return time.Time{}
}

func (c *check) refresh(p *Provider, s serverFields) {
	r := &p.Refresh
	r.Off = s.Refresh != nil && !*s.Refresh
	r.SendScope = s.RefreshScope
	r.Margin = DefaultMargin
	if c.Doc.Has(c.full("refresh_margin")...) {
		margin, err := time.ParseDuration(s.RefreshMargin)
		if err != nil || margin < 0 || margin > time.Hour {
			c.fail("refresh_margin", "want a time from 0s to 1h, as 30s or 2m")
		}
		r.Margin = margin
	}
	switch idle, err := ath.ParseDuration(s.RefreshIdle); {
	case s.RefreshIdle == refreshNever:
		r.Idle = NeverIdle
	case s.RefreshIdle == "" && !c.Doc.Has(c.full("refresh_idle")...):
	case err != nil || idle < minRefreshIdle:
		c.fail("refresh_idle", "want never, or how long an unused refresh token lives at the server, as 7d or 12h, and no less than a second")
	default:
		r.Idle = idle
	}
	switch r.AuthMethod = AuthMethod(s.RefreshAuthMethod); r.AuthMethod {
	case "": // that of codes, which may be the issuer's to say
	case ClientSecretPost, ClientSecretBasic:
		if p.AuthMethod == NoClientAuth {
			c.fail("refresh_token_auth_method", "token_auth_method is none: there is no secret to send")
		}
	case NoClientAuth:
	default:
		c.fail("refresh_token_auth_method", "want client_secret_post, client_secret_basic or none")
	}
	for i, word := range s.RefreshDenied {
		switch {
		case !validCode(word):
			c.fail("refresh_denied_errors", "want an error code: 1 to 64 letters, digits, '_', '.' and '-'", i)
		case slices.Contains([]string{"invalid_client", "unauthorized_client", "invalid_scope", "server_error", "temporarily_unavailable"}, word):
			c.fail("refresh_denied_errors", "this code is not about the user's grant", i)
		}
	}
	r.Denied = s.RefreshDenied
}

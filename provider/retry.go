package provider

import (
	"context"
	"net/http"
	"strings"

	"github.com/athd/athd/ath"
)

// retry reads the field retry_on_401, when it is known how tokens are refreshed.
func (c *check) retry(p *Provider, s serverFields) {
	p.RetryOn401 = s.RetryOn401
	if s.RetryOn401 && p.Refresh.Off && p.UserinfoURL == nil && !p.Discovered && c.Doc.Has(c.full("retry_on_401")...) {
		c.warn("retry_on_401", "does nothing here: refresh is off, and without userinfo_endpoint nobody says whether a token lives")
	}
}

// A TokenVerdict is what a provider says of an access token. The zero TokenVerdict
// says nothing.
type TokenVerdict int

// The verdicts.
const (
	TokenUnjudged TokenVerdict = iota // nobody could be asked, or the answer is about something else
	TokenAccepted
	TokenRejected
)

// JudgesTokens reports whether the userinfo endpoint can be asked about a token of
// these scopes. One that its issuer names wants openid, and refuses tokens without it,
// which says nothing of them (OpenID Connect Core, section 5.3).
func (p *Provider) JudgesTokens(scopes ath.Scopes) bool {
	return p.UserinfoURL != nil && (!p.discovered.has(p.UserinfoURL) || asksIDToken(p.asked(scopes)))
}

// JudgeToken asks the userinfo endpoint about an access token (RFC 6750, section 3.1).
// Only a plain 401 rejects it: a token that lacks a scope lives, and a redirect, an
// error page or a server that is away say nothing.
func (c *Client) JudgeToken(ctx context.Context, p *Provider, access ath.Secret, scopes ath.Scopes) TokenVerdict {
	if !p.JudgesTokens(scopes) || !c.mayPlain(p) && p.UserinfoURL.Scheme != "https" {
		return TokenUnjudged
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.UserinfoURL.String(), nil)
	if err != nil {
		return TokenUnjudged
	}
	req.Header.Set("Authorization", "Bearer "+access.Reveal())
	res, _, err := fetch(c.to(p, p.UserinfoURL), req) //nolint:bodyclose // fetch has read and closed it
	switch {
	case err != nil && res == nil:
		return TokenUnjudged
	case res.StatusCode == http.StatusUnauthorized && !strings.Contains(strings.Join(res.Header.Values("Www-Authenticate"), ","), "insufficient_scope"):
		return TokenRejected
	case err == nil && res.StatusCode == http.StatusOK:
		return TokenAccepted
	}
	return TokenUnjudged
}

package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
)

// A Revocation says when a user's grant is revoked at the provider, after a
// connection has ended (V-5).
type Revocation string

// When it is.
const (
	RevokeLast  Revocation = "last"  // once no other connection of the user's needs it; the default
	RevokeEach  Revocation = "each"  // with each connection
	RevokeNever Revocation = "never" // it stays
)

// A RevocationStyle is how a provider takes revocations. The zero value is RFC 7009.
type RevocationStyle string

// The styles that are none of RFC 7009.
const (
	githubRevocation RevocationStyle = "github" // https://docs.github.com/en/rest/apps/oauth-applications
	slackRevocation  RevocationStyle = "slack"  // https://docs.slack.dev/reference/methods/auth.revoke
)

// A Revoked says what became of a revocation that is over.
type Revoked string

// What became of it.
const (
	RevokedNow         Revoked = "revoked"     // the provider says that it has
	RevokedGone        Revoked = "gone"        // the provider no longer knew the token
	RevokedUnsupported Revoked = "unsupported" // the provider has no way to
)

// Revocable reports whether the provider can be told that a grant is over. Where
// its endpoints are not known yet, it may be.
func (p *Provider) Revocable() bool { return p.RevocationURL != nil || !p.Ready() }

// SameClient reports whether two destinations are of one client at one OAuth
// server, whichever API their tokens are for: then the server may take the grants
// of one user for one.
func SameClient(a, b string) bool {
	a, b = clientOf(a), clientOf(b)
	return a != "" && a == b
}

// clientOf is a Destination without the API: no URL holds a space.
func clientOf(destination string) string {
	return destination[:max(0, strings.LastIndexByte(destination, ' '))]
}

// RevokeTokens tells the provider that a user's grant is over (RFC 7009, with the
// refresh token where there is one, since that ends the access token at nearly all
// servers and the reverse does not; or the provider's own way). each says that
// other grants of the user's should stay where the provider can tell them apart.
// After an error another try could succeed. Every error is an [*ExchangeError].
func (c *Client) RevokeTokens(ctx context.Context, p *Provider, refresh, access ath.Secret, each bool) (Revoked, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	call := &call{provider: p.ID, endpoint: "revocation endpoint", transport: c.to(p, p.RevocationURL)}
	switch {
	case !p.Ready():
		return "", call.fault("is not known yet")
	case p.RevocationURL == nil:
		return RevokedUnsupported, nil
	case !c.mayPlain(p) && p.RevocationURL.Scheme != "https":
		return "", call.fault("is not an https URL")
	}
	switch p.revocation {
	case githubRevocation:
		return call.revokeAtGitHub(ctx, p, access, each)
	case slackRevocation:
		return call.revokeAtSlack(ctx, p, access)
	}
	if !refresh.IsZero() {
		done, known, err := call.revoke(ctx, p, refresh, "refresh_token")
		if known || err != nil {
			return done, err
		}
	}
	if access.IsZero() {
		return RevokedUnsupported, nil
	}
	done, known, err := call.revoke(ctx, p, access, "access_token")
	if err == nil && !known {
		done = RevokedUnsupported
	}
	return done, err
}

// revoke sends one token (RFC 7009, section 2.1). known is false where the server
// does not revoke tokens of this type.
func (c *call) revoke(ctx context.Context, p *Provider, token ath.Secret, hint string) (done Revoked, known bool, err error) {
	form := url.Values{"token": {token.Reveal()}, "token_type_hint": {hint}}
	method := p.refreshMethod()
	p.identify(form, method)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.RevocationURL.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", true, c.fault("cannot be asked")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	p.sign(req, method)
	if err := c.do(req); err != nil {
		// A body that cannot be read is no word against a status of success.
		if c.status/100 == 2 {
			return RevokedNow, true, nil
		}
		return "", true, err
	}
	switch {
	case c.status/100 == 2: // whatever the body says: Keycloak answers {"error":"invalid_token"} to a second one
		return RevokedNow, true, nil
	case c.status == http.StatusNotFound, c.status == http.StatusMethodNotAllowed:
		return RevokedUnsupported, true, nil
	}
	_, err = c.reply()
	e, _ := errors.AsType[*ExchangeError](err)
	switch {
	case e == nil:
		return "", true, c.refused()
	case echoes(e.Code, form, p):
		e.Code = ""
	case c.status == http.StatusBadRequest && e.Code == "unsupported_token_type":
		return "", false, nil
	case c.status == http.StatusBadRequest && (e.Code == "invalid_token" || e.Code == "invalid_grant"):
		return RevokedGone, true, nil
	}
	return "", true, e
}

// revokeAtGitHub deletes the authorization of the user, or one token of it. Both
// take the access token, and end what was refreshed by the same grant.
func (c *call) revokeAtGitHub(ctx context.Context, p *Provider, access ath.Secret, each bool) (Revoked, error) {
	if access.IsZero() || p.ClientSecret.IsZero() {
		return RevokedUnsupported, nil
	}
	what := "grant"
	if each {
		what = "token"
	}
	body, err := json.Marshal(map[string]string{"access_token": access.Reveal()})
	if err != nil {
		return "", c.fault("cannot be asked")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, p.RevocationURL.JoinPath(url.PathEscape(p.ClientID), what).String(), bytes.NewReader(body))
	if err != nil {
		return "", c.fault("cannot be asked")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/vnd.github+json")
	req.SetBasicAuth(p.ClientID, p.ClientSecret.Reveal())
	if err := c.do(req); err != nil {
		return "", err
	}
	switch c.status {
	case http.StatusNoContent:
		return RevokedNow, nil
	case http.StatusNotFound, http.StatusUnprocessableEntity:
		return RevokedGone, nil
	}
	return "", c.refused()
}

// slackGone are the errors by which Slack says that a token works no more.
var slackGone = []string{"token_revoked", "token_expired", "invalid_auth", "account_inactive", "not_authed"}

func (c *call) revokeAtSlack(ctx context.Context, p *Provider, access ath.Secret) (Revoked, error) {
	if access.IsZero() {
		return RevokedUnsupported, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.RevocationURL.String(), http.NoBody)
	if err != nil {
		return "", c.fault("cannot be asked")
	}
	req.Header.Set("Authorization", "Bearer "+access.Reveal())
	if err := c.do(req); err != nil {
		return "", err
	}
	r, readable := readReply(c.body)
	code, _ := r["error"].(string)
	ok, _ := r["ok"].(bool)
	revoked, _ := r["revoked"].(bool)
	switch {
	case !readable || c.status != http.StatusOK:
	case ok && revoked:
		return RevokedNow, nil
	case slices.Contains(slackGone, code):
		return RevokedGone, nil
	}
	e := c.refused()
	if validCode(code) && !strings.Contains(access.Reveal(), code) {
		e.Code = code
	}
	return "", e
}

func (c *check) revocation(p *Provider, s serverFields) {
	switch p.Revocation = Revocation(s.Revocation); p.Revocation {
	case "":
		p.Revocation = RevokeLast
	case RevokeLast, RevokeEach, RevokeNever:
	default:
		c.fail("revocation", "want last, each or never")
	}
	if s.RevocationEndpoint != "" {
		p.RevocationURL = c.endpoint("revocation_endpoint", s.RevocationEndpoint, []string{"token", "token_type_hint", "client_id", "client_secret"})
		c.reached("revocation_endpoint", p.RevocationURL)
	}
}

// revocable warns where an endpoint is written that is never asked.
func (c *check) revocable(p *Provider) {
	if p.Revocation == RevokeLast && p.RevocationURL != nil && c.Doc.Has(c.full("revocation_endpoint")...) && p.namesNobody() {
		c.warn("revocation_endpoint", "nothing is revoked there, since who the user is is not known, so that others of the user's connections could die with it: "+
			"set userinfo_endpoint, or issuer and the scope openid, or revocation: each")
	}
}

// namesNobody reports whether no user of this provider is known (T-7), as far as
// its configuration tells.
func (p *Provider) namesNobody() bool {
	return !p.Discovered && p.UserinfoURL == nil && p.UserIDField == "" && len(p.dialect.UserID) == 0 && (p.Issuer == "" || !asksIDToken(p.asked(p.Scopes)))
}

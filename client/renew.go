package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
)

// A RenewalError is a renewal that the server refused for good: it is over,
// revoked or not the agent's. Authorize again.
type RenewalError struct{ Refusal *Error }

// Error says what to do.
func (e *RenewalError) Error() string {
	return fmt.Sprintf("client: the token cannot be renewed any more, authorize again: %v", e.Refusal)
}

// Unwrap is the refusal.
func (e *RenewalError) Unwrap() error { return e.Refusal }

// ErrNoRenewal says that a token has no renewal: the server gives none, or the
// user was not asked for that long (T-8).
var ErrNoRenewal = errors.New("client: the token has no renewal: authorize again")

// Renew gets another token without the user (T-8): for the scopes of the
// renewal, or for those of them that are named. The renewal stays good, and
// several processes of one agent may share it. A refusal that stays is a
// *[RenewalError]; any other, such as OAUTH_ERROR with RetryAfter, is an
// *[Error] and may be over later.
func (c *Client) Renew(ctx context.Context, t Token, scopes ...string) (*Token, error) {
	own, err := c.registered()
	if err != nil {
		return nil, err
	}
	if t.Renewal.IsZero() {
		return nil, ErrNoRenewal
	}
	attestation, err := c.attest(ath.TokenPath)
	if err != nil {
		return nil, err
	}
	renewed, err := c.token(ctx, api.TokenRequest{
		GrantType: api.GrantRefreshToken, ClientID: own.ClientID, ClientSecret: api.OpenSecret(own.Secret),
		Attestation: attestation, RefreshToken: api.OpenSecret(t.Renewal), Scope: strings.Join(scopes, " "),
	})
	if e, ok := errors.AsType[*Error](err); ok && isLost(e.Code) {
		return nil, &RenewalError{e}
	}
	if err != nil {
		return nil, err
	}
	if renewed.Renewal.IsZero() { // RFC 6749, section 6: the one that was sent stays
		renewed.Renewal, renewed.RenewalExpires = t.Renewal, t.RenewalExpires
	}
	return renewed, nil
}

// isLost reports whether a refusal says that no use of the token will pass again.
func isLost(code ath.Code) bool {
	return code == ath.TokenInvalid || code == ath.TokenRevoked || code == ath.TokenExpired
}

package authz

import (
	"context"
	"fmt"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/vault"
)

// Rejected is for a call that was allowed, and that the API has answered with 401: it
// has the vault replace the token that the call went with, if nobody has yet, and
// returns the Authorization to send the call again with. It is the zero Secret where
// there is no other token, or the call has lost what it held meanwhile: then the API's
// 401 stands. It never panics.
func (d *Decider) Rejected(ctx context.Context, held Held) (authorization ath.Secret) {
	provider, outcome := "", vault.RejectedNotHeld
	defer func() {
		if p := recover(); p != nil {
			// The value may hold a token: its type is enough.
			d.config.Logger.ErrorContext(ctx, "a rejected token's replacement panicked", "panic", fmt.Sprintf("%T", p))
			authorization, outcome = ath.Secret{}, vault.RejectedProvider
		}
		d.config.ObserveRejected(provider, outcome)
	}()
	q, holding := d.evaluateHeld(ctx, &held)
	if q.provider != nil {
		provider = q.provider.ID
	}
	switch {
	case holding.Temporary():
		outcome = vault.RejectedStore
		return ath.Secret{}
	case !holding.Holds():
		return ath.Secret{}
	case !q.provider.RetryOn401 || d.config.Rejected == nil:
		outcome = vault.RejectedOff
		return ath.Secret{}
	}
	if !q.replaced(held) {
		outcome = d.config.Rejected(ctx, q.provider, q.reading.Grant.Ref(), held.Credential)
		if outcome != vault.RejectedRenewed {
			return ath.Secret{}
		}
		// Time has passed: all is judged again.
		if q, holding = d.evaluateHeld(ctx, &held); !holding.Holds() || !q.replaced(held) {
			outcome = vault.RejectedNotHeld
			return ath.Secret{}
		}
	}
	outcome = vault.RejectedRenewed
	c := q.reading.Connection
	if !c.Expires.IsZero() && !q.now.Before(c.Expires) {
		outcome = vault.RejectedRecently // and that one is over, too: the next decision refreshes
		return ath.Secret{}
	}
	return bearer(c.Access)
}

// replaced reports whether the connection has another token than the call went with.
func (q *evaluation) replaced(held Held) bool {
	return ath.FingerprintOf(q.reading.Connection.Access) != held.Credential
}

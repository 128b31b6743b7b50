package athflow

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// redeem trades the provider's code for the user's tokens, stores them sealed
// and moves the session on to a one-time code of ours (C-3, C-4, C-6).
func (f *Flow) redeem(ctx context.Context, v *visit, p *provider.Provider, code ath.Secret) (ath.Secret, error) {
	s := v.session
	verifier := s.Verifier
	if s.Consent != ConsentDirect {
		verifier = upstreamVerifier(s, v.nonce)
	}
	if s.Shared && !p.SharesGrants() {
		return ath.Secret{}, errGrantsChanged
	}
	tokens, err := f.OAuth.Exchange(ctx, p, provider.Redemption{Code: code, Verifier: verifier, RedirectURI: s.CallbackURL, Scopes: p.Asked(s.Requested, s.Shared)})
	came := time.Now() // monotonic: an order, not a date
	if err != nil {
		return ath.Secret{}, err
	}
	next := *s
	next.Renewal, next.Shown = v.agreed(), nil
	granted := p.Asked(s.Requested, s.Shared)
	next.Consented = s.Requested
	if tokens.ScopesGiven {
		granted, next.Consented = tokens.Scopes, tokens.Scopes
	}
	if s.Shared {
		next.Consented = s.Requested.Intersect(granted) // the rest is other agents'
	}
	if len(next.Consented.Intersect(s.Requested)) == 0 {
		f.Logger.WarnContext(ctx, "the authorization server granted none of the scopes that were asked for: there will be no token",
			"decision_id", v.ID, "provider_id", p.ID, "asked", s.Requested, "granted", provider.Said(strings.Join(granted, " ")))
	}
	connection := tokenstore.Connection{
		Agent: s.AgentID, User: tokens.User, Provider: s.Provider,
		Access: tokens.Access, Refresh: tokens.Refresh, Expires: tokens.Expires,
		Scopes: granted, Created: f.Now().UTC(), Destination: p.Destination(), Bound: p.Bound(),
		RefreshStatus: tokenstore.RefreshStatus{RefreshExpires: tokens.RefreshExpires, Subject: tokens.Subject},
	}
	if s.Shared {
		if tokens.User == "" || !tokens.UserProven {
			return ath.Secret{}, errUserNotProven
		}
		connection.Agent = ""
		next.Connection, err = f.putConnection(ctx, v, connection, func() (ath.Tag, error) {
			ref, err := f.Store.ShareConnection(ctx, s.AgentID, connection, s.Expires, came, func(there *tokenstore.Connection) bool {
				return p.Agreed(there.Destination, there.Bound)
			})
			next.Epoch = ref.Epoch
			return ref.Tag, err
		})
	} else {
		tag := ath.NewTag()
		if connection.User == "" {
			connection.User = string(tag) // T-7
		}
		stored := false
		next.Connection, err = f.putConnection(ctx, v, connection, func() (ath.Tag, error) {
			err := f.Store.PutConnection(ctx, tag, connection, s.Expires)
			stored = err == nil
			return tag, err
		})
		if err != nil && !stored {
			f.discard(ctx, v, tag, &connection)
		}
	}
	if err != nil {
		return ath.Secret{}, err
	}
	next.User = connection.User
	ours := v.ownCode().Secret
	if ours.IsZero() {
		ours = ath.NewCode() // no browser can prove itself
	}
	next.Code, next.Phase, next.Verifier = ath.DigestOf(ours.Reveal()), tokenstore.Consented, ath.Secret{}
	held, err := f.Store.SwapSession(ctx, v.held, next)
	if err != nil {
		lost := errors.Is(err, tokenstore.ErrChanged) || errors.Is(err, tokenstore.ErrNotFound) // else it may have moved on
		if lost && !s.Shared {
			f.discard(ctx, v, next.Connection, &connection)
		}
		return ath.Secret{}, usedBy(err)
	}
	v.held, v.session = held, &held.Value
	v.Event.UserID = next.User
	return ours, nil
}

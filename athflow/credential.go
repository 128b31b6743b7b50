package athflow

import (
	"context"
	"errors"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// errConnectionGone is for a connection that is there no longer. It may have ended
// together with the standing consent, after that was read.
var errConnectionGone = errors.New("the connection is gone")

// credential reads the user's grant at the provider behind a standing consent, which
// must be such that calls pass with it: there, not refused, for the destination
// that the user agreed to, and current. Where its access token has ended it is
// refreshed now, as a call would have it: so no token is given of a grant that the
// provider has ended.
func (f *Flow) credential(ctx context.Context, c *httpapi.Call, p *provider.Provider, r *tokenstore.Renewal) (*tokenstore.Connection, error) {
	g := tokenstore.Grant{
		Agent: r.Agent, ClientID: r.ClientID, User: r.User, Provider: r.Provider, Scopes: r.Scopes,
		Connection: r.Connection, Shared: r.Shared, Epoch: r.Epoch, Generation: r.Generation,
	}
	for round := 0; ; round++ {
		state, err := f.Store.RefreshState(ctx, r.Ref())
		if errors.Is(err, tokenstore.ErrNotFound) {
			return nil, errConnectionGone
		}
		if err != nil {
			return nil, err
		}
		connection := &state.Connection
		switch {
		case connection.Ended || connection.Access.IsZero():
			return nil, f.healAgain(ctx, c, p, &g, connection)
		case !p.Ready():
			return nil, serverUnknown() // whose the token is is not known yet
		case !p.Agreed(connection.Destination, connection.Bound): // O-2
			return nil, consentAgain(c)
		case connection.Expires.IsZero() || f.Now().Before(connection.Expires):
			return connection, nil
		case f.Renewer == nil:
			return nil, f.healAgain(ctx, c, p, &g, connection)
		case round > 0:
			return nil, notNow()
		}
		switch f.Renewer.Renew(ctx, p, &g, connection) {
		case vault.Renewed: // read again
		case vault.ProviderAway:
			return nil, notNow()
		case vault.StoreAway:
			return nil, tokenstore.ErrUnavailable
		case vault.Unreadable:
			return nil, tokenstore.ErrCorrupt
		default:
			return nil, f.healAgain(ctx, c, p, &g, connection)
		}
	}
}

// healAgain is consentAgain with a link by which the user can heal the connection,
// as the refusal of a call would carry it (P-10).
func (f *Flow) healAgain(ctx context.Context, c *httpapi.Call, p *provider.Provider, g *tokenstore.Grant, connection *tokenstore.Connection) error {
	e := consentAgain(c)
	if g.NotHealed(connection, p) != "" {
		return e
	}
	handle, err := f.Store.SealHealing(f.ConsentURL, tokenstore.NewHealing(g, g.Generation, f.Now()))
	if err != nil {
		if !errors.Is(err, tokenstore.ErrHealingTooLong) {
			f.Logger.ErrorContext(ctx, "no link to heal a connection", "decision_id", c.ID, "error", err)
		}
		return e
	}
	return e.WithDetail("authorization_url", f.ConsentURL+ath.HealPath+handle)
}

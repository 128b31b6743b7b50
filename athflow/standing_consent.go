package athflow

import (
	"context"
	"errors"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// A Renewer gets new upstream tokens. [vault.Vault] is the one that serves.
type Renewer interface {
	Renew(context.Context, *provider.Provider, *tokenstore.Grant, *tokenstore.Connection) vault.Result
}

// A standingConsent is what is stored of one, beside the first token of it.
type standingConsent struct {
	token ath.RenewalToken
	value tokenstore.Renewal
	until time.Time // it can be used, as the agent is told
}

// standingOf is the standing consent that a session ends in (T-8), by what its user
// was shown and what holds today; nil: none, also where it would give nothing that
// the first token does not give. The grant becomes one of it.
func (f *Flow) standingOf(agent *tokenstore.Agent, p *provider.Provider, s *tokenstore.Session, c *tokenstore.Connection, g *tokenstore.Grant) *standingConsent {
	if s.Consent != ConsentPage || s.Renewal.Within(termsOf(p)).IsZero() {
		return nil
	}
	r := tokenstore.Renewal{
		Agent: g.Agent, ClientID: g.ClientID, User: g.User, Provider: g.Provider, ProviderAs: s.ProviderAs, Scopes: g.Scopes,
		Connection: g.Connection, Shared: g.Shared, Epoch: g.Epoch, Terms: s.Renewal, Issued: g.Issued, Used: g.Issued,
		Thumbprint: g.Thumbprint, Generation: g.Generation,
	}
	out := &standingConsent{token: ath.NewRenewalToken(g.Connection), value: r, until: standsUntil(agent, p, c, &r, g.Issued)}
	if !out.until.After(g.Expires) {
		return nil
	}
	g.Renewal = out.token.Digest()
	return out
}

// standsUntil is until when a standing consent surely gives tokens, if nobody ends
// it and it is not used before: not past the agent's approval, nor, with nothing to
// refresh by, the user's token (T-9).
func standsUntil(agent *tokenstore.Agent, p *provider.Provider, c *tokenstore.Connection, r *tokenstore.Renewal, now time.Time) time.Time {
	until, _ := r.Ends(termsOf(p))
	if agent.ApprovalExpires.Before(until) {
		until = agent.ApprovalExpires
	}
	if end := backing(p, c, now); !end.IsZero() && end.Before(until) {
		until = end
	}
	return until
}

func (f *Flow) putGrant(ctx context.Context, token ath.Token, g tokenstore.Grant, stands *standingConsent) error {
	if stands == nil {
		return f.Store.PutGrant(ctx, token, g)
	}
	return f.Store.PutRenewal(ctx, stands.token, stands.value, token, g)
}

func (f *Flow) deleteGrant(ctx context.Context, token ath.Token, stands *standingConsent) error {
	if stands == nil {
		return f.Store.DeleteGrant(ctx, token)
	}
	return f.Store.DeleteRenewal(ctx, stands.token, token)
}

// endUnused ends a standing consent that could not be put on record, with its
// connection, which nothing else is for: its session is used up, and nobody has
// its token.
func (f *Flow) endUnused(ctx context.Context, c *httpapi.Call, stands *standingConsent) {
	if stands == nil {
		return
	}
	ctx, cancel := undoing(ctx)
	defer cancel()
	held, err := f.Store.Renewal(ctx, stands.token)
	if err == nil {
		err = f.Store.EndRenewal(ctx, held, f.Now().UTC())
	}
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		f.Logger.WarnContext(ctx, "an unused renewal could not be ended", "decision_id", c.ID, "error", err)
	}
}

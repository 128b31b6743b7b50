package athflow

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// Why a standing consent gives no token, in details.reason and in the event.
const (
	renewalOff     = "renewal_off"  // the configuration has no such consents any more
	renewalMax     = "renewal_max"  // it has lasted as long as the user was told, or as is allowed now
	renewalIdle    = "renewal_idle" // it was not used for as long
	reauthorize    = "reauthorization_required"
	maxRenewRounds = 8 // of uses that meet
)

// checkRenewal checks the shape of a renewal.
func checkRenewal(req *api.TokenRequest) error {
	switch {
	case req.RefreshToken.IsZero():
		return ath.Errorf(ath.TokenInvalid, "refresh_token is missing.").WithStatus(400)
	case req.Scope != "" && len(req.Scopes) > 0:
		return httpapi.InvalidField("scopes", "scope and scopes say the same: give one of them.")
	}
	_, err := askedScopes(req)
	return err
}

// askedScopes are those that the agent asks for; none: as before.
func askedScopes(req *api.TokenRequest) (ath.Scopes, error) {
	field, asked := "scopes", req.Scopes
	if req.Scope != "" {
		field, asked = "scope", strings.Fields(req.Scope)
	}
	scopes, err := ath.ParseScopes(asked)
	if err != nil {
		return nil, httpapi.InvalidField(field, "%s must name scopes in the syntax of RFC 6749.", field)
	}
	return scopes, nil
}

// renew gives an ATH token by a standing consent, for an agent that has just proved
// who it is (T-8). All that could have changed since the user consented is judged
// as it is now: the consent itself, the agent's standing, policy and approval, and
// the user's grant at the provider.
func (f *Flow) renew(ctx context.Context, c *httpapi.Call, agent *tokenstore.Agent, req *api.TokenRequest) (api.TokenReply, error) {
	reply, err := f.renewAgain(ctx, c, agent, req)
	f.Renewed(c.Event.ProviderID, renewalOutcome(c, err))
	return reply, err
}

// renewAgain reads the consent until nobody else changes it meanwhile.
func (f *Flow) renewAgain(ctx context.Context, c *httpapi.Call, agent *tokenstore.Agent, req *api.TokenRequest) (api.TokenReply, error) {
	token, err := ath.ParseRenewalToken(req.RefreshToken.Reveal())
	if err != nil {
		return api.TokenReply{}, unknownRenewal()
	}
	gone := false
	for range maxRenewRounds {
		held, err := f.Store.Renewal(ctx, token)
		if errors.Is(err, tokenstore.ErrNotFound) {
			return api.TokenReply{}, unknownRenewal()
		}
		if err != nil {
			return api.TokenReply{}, err
		}
		reply, err := f.renewBy(ctx, c, agent, req, token, held)
		switch {
		case errors.Is(err, errConnectionGone) && gone:
			return api.TokenReply{}, consentAgain(c)
		case errors.Is(err, errConnectionGone):
			gone = true
		case !errors.Is(err, tokenstore.ErrChanged):
			return reply, err
		}
		// It has ended meanwhile, or another use of it was written down.
	}
	return api.TokenReply{}, errors.New("the renewal was changed by others too often")
}

func (f *Flow) renewBy(ctx context.Context, c *httpapi.Call, agent *tokenstore.Agent, req *api.TokenRequest, token ath.RenewalToken, held tokenstore.Held[tokenstore.Renewal]) (api.TokenReply, error) {
	r := &held.Value
	c.Event.ProviderID = r.Provider
	if r.Agent != agent.ID {
		return api.TokenReply{}, ath.Errorf(ath.AgentIdentityMismatch, "The refresh_token belongs to another agent.")
	}
	c.Event.UserID, c.Event.Requested = r.User, r.Scopes
	now := f.Now().UTC()
	p := f.Providers.Current().Get(r.Provider)
	if err := stillStands(c, agent, p, r, now); err != nil {
		return api.TokenReply{}, err
	}
	if err := f.goodStanding(ctx, agent); err != nil {
		return api.TokenReply{}, err
	}
	if r.Generation != agent.Generation { // suspension ends it for good
		return api.TokenReply{}, revokedRenewal()
	}
	granted, err := f.renewable(c, agent, req, r)
	if err != nil {
		return api.TokenReply{}, err
	}
	if err := f.Renewing(token.Digest()); err != nil { // before the provider is asked, and anything is kept
		return api.TokenReply{}, err
	}
	connection, err := f.credential(ctx, c, p, r)
	if err != nil {
		return api.TokenReply{}, err
	}
	if connection.RefreshStatus.Narrowed || r.Shared { // the user or the provider took some away
		granted.Effective = httpapi.List(ath.Scopes(granted.Effective).Intersect(connection.Scopes))
	}
	c.Event.Effective, c.Event.Denied = granted.Effective, c.Event.Requested.Minus(granted.Effective)
	if len(granted.Effective) == 0 {
		return api.TokenReply{}, ath.Errorf(ath.ScopeNotApproved, "No scope that the user consented to is approved now.").
			WithDetail("scope_intersection", granted)
	}
	return f.issueRenewed(ctx, c, agent, p, token, held, connection, granted)
}

func unknownRenewal() error {
	return ath.Errorf(ath.TokenInvalid, "The refresh_token is not known.")
}

func revokedRenewal() error {
	return ath.Errorf(ath.TokenRevoked, "The refresh_token was revoked: authorize again.")
}

// stillStands judges the consent itself, by its own terms and those of today.
func stillStands(c *httpapi.Call, agent *tokenstore.Agent, p *provider.Provider, r *tokenstore.Renewal, now time.Time) error {
	if !r.Revoked.IsZero() || r.ClientID != agent.ClientID { // an earlier registration took its own along
		return revokedRenewal()
	}
	end, idle := r.Ends(termsOf(p))
	if !end.IsZero() && now.Before(end) {
		return nil
	}
	reason := renewalMax
	switch {
	case end.IsZero():
		reason = renewalOff
	case idle:
		reason = renewalIdle
	}
	c.Event.Reason = reason
	return ath.Errorf(ath.TokenExpired, "The refresh_token has expired: authorize again.").WithDetail("reason", reason)
}

// termsOf are those of new consents at a provider; none where there is no such one.
func termsOf(p *provider.Provider) ath.RenewalTerms {
	if p == nil {
		return ath.RenewalTerms{}
	}
	return p.Renewal
}

// renewable are the scopes that a token gets: approved now ∩ consented to ∩ asked
// for, without those that today's policy denies. More than the user consented to is
// never asked for (RFC 6749, section 6).
func (f *Flow) renewable(c *httpapi.Call, agent *tokenstore.Agent, req *api.TokenRequest, r *tokenstore.Renewal) (api.ScopeIntersection, error) {
	asked, err := askedScopes(req)
	if err != nil {
		return api.ScopeIntersection{}, err
	}
	if len(asked) == 0 {
		asked = r.Scopes
	}
	c.Event.Requested = asked
	if more := asked.Minus(r.Scopes); len(more) > 0 {
		c.Event.Denied = more
		return api.ScopeIntersection{}, ath.Errorf(ath.ScopeNotApproved, "More is asked for than the user consented to: authorize again for it.").
			WithDetail("unapproved_scopes", more)
	}
	approved, err := f.approved(agent, r.Provider)
	if err != nil {
		return api.ScopeIntersection{}, err
	}
	return api.ScopeIntersection{
		Approved: httpapi.List(approved), Consented: httpapi.List(r.Scopes), Effective: httpapi.List(asked.Intersect(approved)),
	}, nil
}

// issueRenewed stores the token's grant, in one step with the use of the consent.
func (f *Flow) issueRenewed(ctx context.Context, c *httpapi.Call, agent *tokenstore.Agent, p *provider.Provider, by ath.RenewalToken, held tokenstore.Held[tokenstore.Renewal], connection *tokenstore.Connection, granted api.ScopeIntersection) (api.TokenReply, error) {
	if err := f.Audit.Ready(); err != nil {
		return api.TokenReply{}, err
	}
	r := held.Value
	now := f.Now().UTC()
	expires, err := f.expiry(agent, p, connection, now)
	if err != nil {
		return api.TokenReply{}, err
	}
	token := ath.NewToken(r.Connection)
	grant := tokenstore.Grant{
		Agent: r.Agent, ClientID: r.ClientID, User: r.User, Provider: r.Provider, Scopes: granted.Effective,
		Connection: r.Connection, Shared: r.Shared, Epoch: r.Epoch, Issued: now, Expires: expires,
		Thumbprint: r.Thumbprint, Generation: r.Generation, Renewal: by.Digest(), ProviderAs: r.ProviderAs,
	}
	switch err := f.Store.Renew(ctx, held, termsOf(p), token, grant); {
	case errors.Is(err, tokenstore.ErrNotFound):
		return api.TokenReply{}, errConnectionGone
	case err != nil:
		return api.TokenReply{}, err
	}
	c.Event.Kind = audit.AccessGranted
	c.Undo = func() { f.takeBackRenewed(ctx, c, token) }
	r.Used = now
	return api.TokenReply{
		AccessToken: api.OpenSecret(token.Secret()), TokenType: "Bearer",
		ExpiresIn: int64(expires.Sub(now) / time.Second), Effective: granted.Effective,
		ProviderID: r.ProviderAs, AgentID: r.Agent, Intersection: granted,
		RefreshToken:     api.OpenSecret(by.Secret()), // it does not rotate: clients that keep the last reply keep it
		RefreshExpiresIn: int64(standsUntil(agent, p, connection, &r, now).Sub(now) / time.Second),
	}, nil
}

// takeBackRenewed deletes a grant that could not be put on record: nobody has its
// token.
func (f *Flow) takeBackRenewed(ctx context.Context, c *httpapi.Call, token ath.Token) {
	ctx, cancel := undoing(ctx)
	defer cancel()
	if err := f.Store.DeleteGrant(ctx, token); err != nil {
		f.Logger.WarnContext(ctx, "an unused grant could not be taken back", "decision_id", c.ID, "error", err)
	}
}

// consentAgain is for a user's grant at the provider that is gone (P-6).
func consentAgain(c *httpapi.Call) *ath.Error {
	c.Event.Reason = reauthorize
	return ath.Errorf(ath.TokenInvalid, "The user's consent at the provider has ended: authorize again.").WithDetail("reason", reauthorize)
}

// notNow is for a provider that gives no answer.
func notNow() error {
	return ath.Errorf(ath.OAuthError, "The provider's authorization server does not answer now; try again.").
		WithStatus(http.StatusServiceUnavailable).WithDetail(ath.RetryDetail, 1)
}

package athflow

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

const maxBadCodes = 5 // T-1: against brute force

// token trades a consented session for an ATH token, or renews one by a standing
// consent. The order of the checks is the protocol's.
func (f *Flow) token(ctx context.Context, c *httpapi.Call, req *api.TokenRequest) (api.TokenReply, error) {
	c.Event.Renewal = req.GrantType == api.GrantRefreshToken
	if err := checkToken(req); err != nil {
		return api.TokenReply{}, err
	}
	agent, err := f.registration(ctx, c, req.ClientID)
	if err != nil {
		return api.TokenReply{}, err
	}
	if !agent.SecretDigest.Matches(req.ClientSecret.Reveal()) {
		return api.TokenReply{}, wrongSecret()
	}
	if err := f.attested(ctx, c, agent, req.Attestation.Reveal(), f.exactAudiences(ath.TokenPath)); err != nil {
		return api.TokenReply{}, err
	}
	if req.GrantType == api.GrantRefreshToken {
		return f.renew(ctx, c, agent, req)
	}
	held, err := f.consented(ctx, c, agent, req)
	if err != nil {
		return api.TokenReply{}, err
	}
	if err := f.goodStanding(ctx, agent); err != nil {
		return api.TokenReply{}, err
	}
	session := held.Value
	granted, err := f.intersect(agent, &session)
	if err != nil {
		return api.TokenReply{}, err
	}
	c.Event.Effective, c.Event.Denied = granted.Effective, session.Requested.Minus(granted.Effective)
	if len(granted.Effective) == 0 {
		return api.TokenReply{}, noScope(c, &session, granted)
	}
	return f.issue(ctx, c, agent, held, granted)
}

// noScope refuses a token without a scope. Which of the sets was empty is what
// an operator will be asked.
func noScope(c *httpapi.Call, s *tokenstore.Session, granted api.ScopeIntersection) error {
	cause := "no scope that was requested and consented to is approved now"
	if len(s.Requested.Intersect(s.Consented)) == 0 {
		cause = "the authorization server granted none of the scopes that were asked for: "
		if told := provider.Said(strings.Join(s.Consented, " ")); told != "" {
			cause += "its reply's scope is " + told
		} else {
			cause += "its reply's scope is empty (see empty_scope in providers.json)"
		}
		c.Event.Upstream = cause
	}
	return ath.Errorf(ath.ScopeNotApproved, "No scope is approved, consented to and requested at once.").
		WithDetail("scope_intersection", granted).WithCause(errors.New(cause))
}

// saidUpstream tells the agent, and the event, what the provider's server said
// when the session ended.
func saidUpstream(c *httpapi.Call, s *tokenstore.Session, e *ath.Error) *ath.Error {
	switch s.Upstream {
	case "":
		return e
	case userEnded:
		return e.WithDetail("reason", userEnded)
	}
	c.Event.Upstream = s.Upstream
	return e.WithDetail("provider_error", s.Upstream)
}

func checkToken(req *api.TokenRequest) error {
	switch {
	case req.ClientID == "" || req.ClientSecret.IsZero():
		return ath.Errorf(ath.AgentNotRegistered, "client_id and client_secret are required.").WithStatus(400)
	case req.Attestation.IsZero():
		return ath.Errorf(ath.InvalidAttestation, "agent_attestation is missing.").WithStatus(400)
	case req.GrantType == api.GrantRefreshToken:
		return checkRenewal(req)
	case req.GrantType != api.GrantAuthorizationCode:
		return ath.Errorf(ath.OAuthError, "grant_type must be authorization_code, or refresh_token.").WithStatus(400)
	}
	return nil
}

func wrongSecret() error {
	return ath.Errorf(ath.AgentNotRegistered, "The client credentials are wrong.").WithStatus(401)
}

// consented finds the agent's session and wants it to be at the point where
// its user has consented and its code is the one given.
func (f *Flow) consented(ctx context.Context, c *httpapi.Call, agent *tokenstore.Agent, req *api.TokenRequest) (tokenstore.Held[tokenstore.Session], error) {
	var none tokenstore.Held[tokenstore.Session]
	unknown := ath.Errorf(ath.SessionNotFound, "There is no such session that waits for a token.")
	id, err := ath.ParseSessionID(req.Session.Reveal())
	if err != nil {
		return none, unknown
	}
	for range maxBadCodes + 1 {
		held, err := f.Store.Session(ctx, id.Tag())
		if errors.Is(err, tokenstore.ErrNotFound) {
			return none, unknown
		}
		if err != nil {
			return none, err
		}
		s := &held.Value
		if s.Heals || !s.ID.Equal(req.Session.Reveal()) {
			return none, unknown
		}
		if !f.Now().Before(s.Expires) {
			return none, ath.Errorf(ath.SessionExpired, "The session has expired.")
		}
		if s.AgentID != agent.ID || s.ClientID != agent.ClientID {
			return none, ath.Errorf(ath.AgentIdentityMismatch, "The session belongs to another agent.")
		}
		c.Event.ProviderID, c.Event.UserID, c.Event.Requested = s.Provider, s.User, s.Requested
		switch s.Phase {
		case tokenstore.Started, tokenstore.Redeeming:
			return none, ath.Errorf(ath.SessionNotFound, "The user is not through with the consent yet.")
		case tokenstore.Refused:
			return none, saidUpstream(c, s, ath.Errorf(ath.UserDenied, "The user did not allow it."))
		case tokenstore.Failed:
			return none, saidUpstream(c, s, ath.Errorf(ath.OAuthError, "The provider's authorization server failed."))
		case tokenstore.Consented:
		default:
			return none, unknown
		}
		if f.AcceptAnyCode || s.Code.Matches(req.Code.Reveal()) {
			return held, nil
		}
		// A wrong guess is counted before it is answered. When another guess
		// was counted meanwhile, this one is judged again.
		next := *s
		if next.BadCodes++; next.BadCodes >= maxBadCodes {
			next.Phase = tokenstore.Consumed
		}
		if _, err := f.Store.SwapSession(ctx, held, next); errors.Is(err, tokenstore.ErrChanged) {
			continue
		} else if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			return none, err
		}
		return none, f.wrongCode(maxBadCodes - next.BadCodes)
	}
	return none, unknown
}

// wrongCode tells the session's own agent, which has proved who it is, that it
// is the code that does not fit, and where the right one is. Some clients in
// the field send a placeholder (T-1).
func (f *Flow) wrongCode(left int) error {
	if left <= 0 {
		return ath.Errorf(ath.SessionNotFound, "The code is wrong once more, and the session has ended: authorize again.").
			WithDetail("field", "code").WithDetail("tries_left", 0)
	}
	e := ath.Errorf(ath.SessionNotFound, "The code is wrong. The right one comes with the user's browser: as the parameter code of the user_redirect_uri, or on the page at the end of the consent.").
		WithDetail("field", "code").WithDetail("tries_left", left)
	if u, err := url.Parse(f.PublicURL); err == nil && ath.IsLoopbackHost(u.Hostname()) {
		e = e.WithDetail("development_option", "development.accept_any_code: true in athd.yaml takes any code, for clients that send a placeholder")
	}
	return e
}

// intersect computes approved now ∩ consented ∩ requested, in the order
// requested (T-2).
func (f *Flow) intersect(agent *tokenstore.Agent, s *tokenstore.Session) (api.ScopeIntersection, error) {
	approved, err := f.approved(agent, s.Provider)
	if err != nil {
		return api.ScopeIntersection{}, err
	}
	return api.ScopeIntersection{
		Approved: httpapi.List(approved), Consented: httpapi.List(s.Consented),
		Effective: httpapi.List(s.Requested.Intersect(approved).Intersect(s.Consented)),
	}, nil
}

// approved are the scopes that the agent is approved for now: without those that a
// rule of today's policy denies.
func (f *Flow) approved(agent *tokenstore.Agent, providerID string) (ath.Scopes, error) {
	a, names := agent.Approval(providerID), []string{providerID}
	if p := f.Providers.Current().Get(providerID); p != nil {
		a, names = agent.Approval(p.ID, p.Aliases...), p.Names()
	}
	if a == nil {
		return nil, nil
	}
	id, err := ath.ParseAgentID(agent.ID, f.AllowHTTP)
	if err != nil { // registered when http was allowed
		return nil, ath.Errorf(ath.InvalidAttestation, "The agent_id is not acceptable any more.").WithCause(err)
	}
	return a.Approved.Minus(f.Policy.Denies(id, agent.Developer.ID, names).Denied(a.Approved)), nil
}

// issue writes the grant first and closes the session after it; of two
// exchanges at once the one that cannot close it takes its grant back (T-4).
func (f *Flow) issue(ctx context.Context, c *httpapi.Call, agent *tokenstore.Agent, held tokenstore.Held[tokenstore.Session], granted api.ScopeIntersection) (api.TokenReply, error) {
	if err := f.Audit.Ready(); err != nil { // while the session can still be used later
		return api.TokenReply{}, err
	}
	session := held.Value
	now := f.Now().UTC()
	state, err := f.Store.RefreshState(ctx, session.Ref())
	if errors.Is(err, tokenstore.ErrNotFound) { // the connection is gone: the other exchange, or its end
		return api.TokenReply{}, ath.Errorf(ath.SessionNotFound, "There is no such session that waits for a token.")
	}
	if err != nil {
		return api.TokenReply{}, err
	}
	p := f.Providers.Current().Get(session.Provider)
	expires, err := f.expiry(agent, p, &state.Connection, now)
	if err != nil {
		return api.TokenReply{}, err
	}
	token := ath.NewToken(session.Connection)
	grant := tokenstore.Grant{
		Agent: agent.ID, ClientID: agent.ClientID, User: session.User, Provider: session.Provider,
		Scopes: granted.Effective, Connection: session.Connection, Shared: session.Shared, Epoch: session.Epoch, Issued: now, Expires: expires,
		Generation: agent.Generation, ProviderAs: session.ProviderAs,
	}
	stands := f.standingOf(agent, p, &session, &state.Connection, &grant)
	if err := f.putGrant(ctx, token, grant, stands); err != nil {
		if errors.Is(err, tokenstore.ErrNotFound) { // the connection is gone: the other exchange, or its end
			return api.TokenReply{}, ath.Errorf(ath.SessionNotFound, "There is no such session that waits for a token.")
		}
		return api.TokenReply{}, err
	}
	if err := f.closeSession(ctx, held); err != nil {
		f.takeBack(ctx, c, &session, token, stands, err)
		if errors.Is(err, tokenstore.ErrChanged) || errors.Is(err, tokenstore.ErrNotFound) {
			return api.TokenReply{}, ath.Errorf(ath.SessionNotFound, "There is no such session that waits for a token.")
		}
		return api.TokenReply{}, err
	}
	f.releaseSession(ctx, &session)
	c.Event.Kind = audit.AccessGranted
	c.Undo = func() {
		f.takeBack(ctx, c, &session, token, nil, audit.ErrUnwritten)
		f.endUnused(ctx, c, stands)
	}
	reply := api.TokenReply{
		AccessToken: api.OpenSecret(token.Secret()), TokenType: "Bearer",
		ExpiresIn: int64(expires.Sub(now) / time.Second), Effective: granted.Effective,
		ProviderID: session.ProviderAs, AgentID: agent.ID, Intersection: granted,
	}
	if stands != nil {
		reply.RefreshToken, reply.RefreshExpiresIn = api.OpenSecret(stands.token.Secret()), int64(stands.until.Sub(now)/time.Second)
	}
	return reply, nil
}

// expiry is when a token ends that is issued now: it never promises more than
// stands behind it.
func (f *Flow) expiry(agent *tokenstore.Agent, p *provider.Provider, c *tokenstore.Connection, now time.Time) (time.Time, error) {
	expires := now.Add(f.TokenTTL)
	if agent.ApprovalExpires.Before(expires) {
		expires = agent.ApprovalExpires // T-6
	}
	if end := backing(p, c, now); !end.IsZero() && end.Before(expires) {
		expires = end // T-9
	}
	if expires.Sub(now) < time.Second {
		return time.Time{}, ath.Errorf(ath.OAuthError, "The user's token at the provider has ended already: authorize again.")
	}
	return expires, nil
}

// backing is how long a connection surely lives, though nobody calls; zero: there
// is no known end.
func backing(p *provider.Provider, c *tokenstore.Connection, now time.Time) time.Time {
	end := c.RefreshStatus.RefreshExpires
	switch {
	case c.Expires.IsZero():
		return time.Time{}
	case p == nil || !p.Refreshable(c.Refresh) || c.RefreshStatus.Over(now) || !c.RefreshStatus.Refused.IsZero():
		return c.Expires
	case c.Kept():
		return time.Time{}
	case end.Before(c.Expires):
		return c.Expires
	}
	return end
}

// closeSession uses the session up. A wrong code that was counted meanwhile
// leaves it as open as it was for the right one (T-1); it can happen only so
// often.
func (f *Flow) closeSession(ctx context.Context, held tokenstore.Held[tokenstore.Session]) error {
	for range maxBadCodes {
		next := held.Value
		next.Phase, next.Code = tokenstore.Consumed, ath.Digest{}
		_, err := f.Store.SwapSession(ctx, held, next)
		if !errors.Is(err, tokenstore.ErrChanged) {
			return err
		}
		again, e := f.sessionAgain(ctx, &held.Value)
		if e != nil {
			return e
		}
		if again.Value.Phase != tokenstore.Consented {
			return err
		}
		held = again
	}
	return tokenstore.ErrChanged
}

func (f *Flow) sessionAgain(ctx context.Context, s *tokenstore.Session) (tokenstore.Held[tokenstore.Session], error) {
	id, err := ath.ParseSessionID(s.ID.Reveal())
	if err != nil {
		return tokenstore.Held[tokenstore.Session]{}, err
	}
	return f.Store.Session(ctx, id.Tag())
}

// takeBack deletes the grant of an exchange that could not close its session,
// or be put on record: nobody has its token. Where the store does not say that the session is open
// still, or somebody else's, the grant stays and expires unused: this exchange
// may have closed it, and a session that is used up must have a grant.
func (f *Flow) takeBack(ctx context.Context, c *httpapi.Call, s *tokenstore.Session, token ath.Token, stands *standingConsent, why error) {
	ctx, cancel := undoing(ctx)
	defer cancel()
	if errors.Is(why, tokenstore.ErrUnavailable) {
		if held, err := f.sessionAgain(ctx, s); err != nil || held.Value.Phase != tokenstore.Consented {
			return
		}
	}
	if err := f.deleteGrant(ctx, token, stands); err != nil {
		f.Logger.WarnContext(ctx, "an unused grant could not be taken back", "decision_id", c.ID, "error", err)
	}
}

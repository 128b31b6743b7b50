package athflow

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

const (
	maxStateBytes = 1024
)

// authorize opens a session and says where the user must go. The order of the
// checks is the protocol's.
func (f *Flow) authorize(ctx context.Context, c *httpapi.Call, req *api.AuthorizeRequest) (api.AuthorizeReply, error) {
	c.Event.ProviderID = bounded(req.Provider)
	requested, err := checkAuthorize(req)
	if err != nil {
		return api.AuthorizeReply{}, err
	}
	agent, err := f.registration(ctx, c, req.ClientID)
	if err != nil {
		return api.AuthorizeReply{}, err
	}
	if err := f.goodStanding(ctx, agent); err != nil {
		return api.AuthorizeReply{}, err
	}
	redirect, err := f.redirectFor(agent, req.RedirectURI)
	if err != nil {
		return api.AuthorizeReply{}, err
	}
	if err := f.attested(ctx, c, agent, req.Attestation.Reveal(), f.audiences(ath.AuthorizePath)); err != nil {
		return api.AuthorizeReply{}, err
	}
	c.Event.Requested = requested
	p := f.Providers.Current().Lookup(req.Provider)
	var approval *tokenstore.Approval
	if p != nil {
		c.Event.ProviderID = p.ID
		approval = agent.Approval(p.ID, p.Aliases...)
	}
	if approval == nil || len(approval.Approved) == 0 {
		return api.AuthorizeReply{}, ath.Errorf(ath.ProviderNotApproved, "The agent is not approved for this provider.")
	}
	approved, err := f.approved(agent, p.ID)
	if err != nil {
		return api.AuthorizeReply{}, err
	}
	if rest := requested.Minus(approved); len(rest) > 0 {
		c.Event.Denied = rest
		return api.AuthorizeReply{}, ath.Errorf(ath.ScopeNotApproved, "The agent is not approved for every scope asked for.").
			WithDetail("unapproved_scopes", rest)
	}

	if !p.Ready() {
		return api.AuthorizeReply{}, serverUnknown()
	}
	if err := f.Audit.Ready(); err != nil { // before anything is stored
		return api.AuthorizeReply{}, err
	}
	id := ath.NewSessionID()
	state := ath.NewState(id.Tag())
	now := f.Now().UTC()
	session := tokenstore.Session{
		ID: id.Secret(), State: state.Digest(),
		AgentID: agent.ID, ClientID: agent.ClientID,
		Provider: p.ID, ProviderAs: req.Provider, Requested: requested,
		AgentState: req.State, RedirectURI: redirect, CallbackURL: f.callbackURL(p), Resource: req.Resource,
		Verifier: ath.NewKey(), BrowserKey: ath.NewKey(), Consent: f.Consent, Shared: p.SharesGrants(),
		Destination: p.Destination(), Bound: p.Bound(),
		Phase: tokenstore.Started, Created: now, Expires: now.Add(f.SessionTTL),
	}
	if err := f.reserveSession(ctx, ath.AgentTag(agent.ID), id.Tag(), session.Expires); err != nil {
		return api.AuthorizeReply{}, err
	}
	if err := f.Store.CreateSession(ctx, id.Tag(), session); err != nil {
		return api.AuthorizeReply{}, err
	}
	c.Event.Kind, c.Event.Effective = audit.AuthorizationStarted, requested
	return api.AuthorizeReply{
		URL:     f.authorizationURL(p, &session, state),
		Session: api.OpenSecret(id.Secret()),
	}, nil
}

// checkAuthorize checks the shape of the request.
func checkAuthorize(req *api.AuthorizeRequest) (ath.Scopes, error) {
	if req.ClientID == "" {
		return nil, ath.Errorf(ath.AgentNotRegistered, "client_id is missing.").WithStatus(400)
	}
	if req.State == "" || len(req.State) > maxStateBytes || !ath.IsPrintable(req.State) {
		return nil, ath.Errorf(ath.StateMismatch, "state is missing, too long, or holds a character other than visible ASCII.")
	}
	if req.Attestation.IsZero() {
		return nil, ath.Errorf(ath.InvalidAttestation, "agent_attestation is missing.").WithStatus(400)
	}
	if req.Provider == "" {
		return nil, httpapi.InvalidField("provider_id", "provider_id is missing.")
	}
	scopes, err := ath.ParseScopes(req.Scopes)
	if err != nil || len(scopes) == 0 {
		return nil, httpapi.InvalidField("scopes", "scopes must name at least one scope, each in the syntax of RFC 6749.")
	}
	if req.Resource != "" { // RFC 8707, section 2
		u, err := url.Parse(req.Resource)
		if err != nil || !u.IsAbs() || u.Host == "" || strings.Contains(req.Resource, "#") || len(req.Resource) > maxRedirectURIBytes || !ath.IsVisible(req.Resource) {
			return nil, httpapi.InvalidField("resource", "resource must be an absolute URL without a fragment.")
		}
	}
	return scopes, nil
}

// registration finds the agent that a client_id names.
func (f *Flow) registration(ctx context.Context, c *httpapi.Call, clientID string) (*tokenstore.Agent, error) {
	unknown := ath.Errorf(ath.AgentNotRegistered, "No agent is registered under this client_id.")
	id, err := ath.ParseClientID(clientID)
	if err != nil {
		return nil, unknown
	}
	held, err := f.Store.Agent(ctx, id.Tag())
	if errors.Is(err, tokenstore.ErrNotFound) {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	if held.Value.ClientID != clientID {
		return nil, unknown
	}
	c.Event.AgentID = held.Value.ID
	return &held.Value, nil
}

// inGoodStanding wants an approved agent whose approval has not ended.
func (f *Flow) inGoodStanding(a *tokenstore.Agent) error {
	if s := a.Standing(); s != tokenstore.Approved {
		return ath.Errorf(ath.AgentUnapproved, "The agent is not approved.").WithDetail("agent_status", string(s))
	}
	if !f.Now().Before(a.ApprovalExpires) {
		return ath.Errorf(ath.AgentUnapproved, "The agent's approval has expired.").
			WithDetail("approval_expires", a.ApprovalExpires.UTC().Format("2006-01-02T15:04:05Z07:00"))
	}
	return nil
}

// goodStanding is inGoodStanding for a step that gives something.
func (f *Flow) goodStanding(ctx context.Context, a *tokenstore.Agent) error {
	if err := f.inGoodStanding(a); err != nil {
		return err
	}
	return f.Registrations.CheckHost(ctx, a.ID)
}

// attested verifies an attestation of a registered agent. What is fetched is
// the registered agent_id, never what the attestation claims.
func (f *Flow) attested(ctx context.Context, c *httpapi.Call, a *tokenstore.Agent, compact string, audiences []string) error {
	agent, err := ath.ParseAgentID(a.ID, f.AllowHTTP)
	if err != nil { // registered when http was allowed
		return ath.Errorf(ath.InvalidAttestation, "The agent_id is not acceptable any more.").WithCause(err)
	}
	_, err = f.verify(ctx, c, agent, compact, audiences, ath.AgentIdentityMismatch)
	return err
}

// redirectFor applies Z-1, and returns "" where the completion page is to be
// shown.
func (f *Flow) redirectFor(a *tokenstore.Agent, asked string) (string, error) {
	if asked == "" {
		return "", nil
	}
	for _, registered := range a.RedirectURIs {
		if !sameRedirect(registered, asked) {
			continue
		}
		for _, b := range append(f.bases(), f.ConsentURL) {
			if asked == b+ath.CallbackPath {
				return "", nil
			}
		}
		return asked, nil
	}
	return "", ath.Errorf(ath.InvalidAttestation, "The user_redirect_uri is not one that the agent registered.").
		WithStatus(400).WithDetail("field", "user_redirect_uri")
}

// sameRedirect compares byte for byte, but for the port of a loopback IP
// address or of localhost (RFC 8252, sections 7.3 and 8.3; Z-1).
func sameRedirect(registered, asked string) bool {
	if registered == asked {
		return true
	}
	if checkRedirectURI(asked) != nil {
		return false
	}
	r, err1 := url.Parse(registered)
	a, err2 := url.Parse(asked)
	if err1 != nil || err2 != nil || r.Scheme != "http" || a.Scheme != "http" || !anyPort(r.Hostname()) || r.Hostname() != a.Hostname() {
		return false
	}
	rest := func(s string, u *url.URL) string { return strings.TrimPrefix(s, "http://"+u.Host) }
	return rest(registered, r) == rest(asked, a)
}

// anyPort names the hosts on which an app listens on whatever port it gets. Of
// names it is localhost alone: what stands below it is not known to be here.
func anyPort(host string) bool { return host == "localhost" || ath.IsLoopbackIP(host) }

func (f *Flow) callbackURL(p *provider.Provider) string {
	return p.RedirectURI(f.PublicURL, f.CallbackPerProvider)
}

// authorizationURL is a URL of ours on the consent origin, where the browser
// gets its cookie and the callback is judged (Z-3). It carries a query like the one that the
// provider will get, for clients that look at it; but its state only finds
// the session, and its challenge belongs to no code: each browser gets its own
// of both. ConsentDirect hands out the provider's URL, where they count.
func (f *Flow) authorizationURL(p *provider.Provider, s *tokenstore.Session, state ath.State) string {
	if s.Consent == ConsentDirect {
		return providerURL(p, s, state, s.Verifier)
	}
	request := authRequest(p, s, state, s.Verifier)
	request.Scopes = s.Requested
	_, query, _ := strings.Cut(p.AuthCodeURL(request.Shown()), "?")
	return f.ConsentURL + ath.ConsentStartPath + "?" + query
}

func providerURL(p *provider.Provider, s *tokenstore.Session, state ath.State, verifier ath.Secret) string {
	return p.AuthCodeURL(authRequest(p, s, state, verifier))
}

func authRequest(p *provider.Provider, s *tokenstore.Session, state ath.State, verifier ath.Secret) provider.AuthRequest {
	return provider.AuthRequest{
		State: state.Secret(), Verifier: verifier, RedirectURI: s.CallbackURL,
		Scopes: p.Asked(s.Requested, s.Shared), Resource: s.Resource,
	}
}

// serverUnknown is for a provider whose endpoints its issuer has not told yet.
func serverUnknown() *ath.Error {
	return ath.Errorf(ath.OAuthError, "The provider's authorization server is not available; try again.").
		WithStatus(http.StatusServiceUnavailable)
}

// bounded cuts what goes into an event before it was checked.
func bounded(s string) string {
	if len(s) > 128 {
		s = s[:128]
	}
	return strings.ToValidUTF8(s, "?")
}

package athflow

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/tokenstore"
)

// Limits on what a registration may say.
const (
	maxTextBytes         = 512
	maxRedirectURIs      = 20
	maxRedirectURIBytes  = 2048
	maxRequestedProvider = 50
)

type registerRequest struct {
	AgentID     string `json:"agent_id"`
	Attestation string `json:"agent_attestation"`
	Developer   struct {
		Name    string `json:"name"`
		ID      string `json:"id"`
		Contact string `json:"contact"`
	} `json:"developer"`
	Providers    []requestedProvider `json:"requested_providers"`
	Purpose      string              `json:"purpose"`
	RedirectURIs []string            `json:"redirect_uris"`
}

type requestedProvider struct {
	ID     string   `json:"provider_id"`
	Scopes []string `json:"scopes"`
}

type registerResponse struct {
	ClientID        string             `json:"client_id"`
	ClientSecret    string             `json:"client_secret"`
	Status          string             `json:"agent_status"`
	Providers       []approvedProvider `json:"approved_providers"`
	ApprovalExpires string             `json:"approval_expires"`
}

type approvedProvider struct {
	ID           string   `json:"provider_id"`
	Approved     []string `json:"approved_scopes"`
	Denied       []string `json:"denied_scopes"`
	DenialReason string   `json:"denial_reason,omitempty"`
}

// register verifies who asks, lets the policy judge what it asks for, and
// stores one record: a new one, or the old one with something added.
func (f *Flow) register(ctx context.Context, c *call, req *registerRequest) (registerResponse, error) {
	agent, err := f.checkRegister(req)
	if !agent.IsZero() {
		c.event.AgentID = agent.String()
	}
	if err != nil {
		return registerResponse{}, err
	}
	for _, p := range req.Providers {
		c.event.Requested = c.event.Requested.Union(ath.Scopes(p.Scopes))
	}
	identity, err := f.verify(ctx, c, agent, req.Attestation, f.audiences("/ath/agents/register"), ath.InvalidAttestation)
	if err != nil {
		return registerResponse{}, err
	}
	developer := tokenstore.Developer{Name: identity.Developer.Name, ID: identity.Developer.ID, Contact: req.Developer.Contact}
	if f.SkipAttestation { // no document was fetched: the agent's own word
		developer.Name, developer.ID = req.Developer.Name, req.Developer.ID
	}

	secret := ath.NewClientSecret()
	fresh := tokenstore.Agent{
		ID: agent.String(), ClientID: ath.NewClientID(agent).String(), Registered: f.Now().UTC(),
	}
	// Two writers at once: the loser reads what the winner wrote and adds to it.
	for round := 1; ; round++ {
		held, err := f.Store.Agent(ctx, agent.Tag())
		known := err == nil
		if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			return registerResponse{}, err
		}
		next := fresh
		if known {
			next = held.Value
			next.Approvals = slices.Clone(next.Approvals)
		}
		if next.ID != agent.String() {
			return registerResponse{}, errors.New("two agent ids share one tag")
		}
		changed, err := f.judgeAll(&next, req, agent, developer, known)
		if err != nil {
			return registerResponse{}, err
		}
		if !changed {
			return registerResponse{}, ath.Errorf(ath.Conflict, "The agent is registered already and asks for nothing new.").
				WithDetail("client_id", next.ClientID)
		}
		next.SecretDigest = ath.DigestOf(secret.Reveal())
		next.Developer = developer
		next.Purpose = req.Purpose
		if identity.Name != "" {
			next.Name = identity.Name
		}
		for _, u := range req.RedirectURIs {
			if !slices.Contains(next.RedirectURIs, u) {
				next.RedirectURIs = append(slices.Clone(next.RedirectURIs), u)
			}
		}
		if len(next.RedirectURIs) > maxRedirectURIs {
			return registerResponse{}, invalidField("redirect_uris", "An agent may register at most %d redirect_uris.", maxRedirectURIs)
		}
		if known {
			err = f.Store.SwapAgent(ctx, held, next)
		} else {
			err = f.Store.CreateAgent(ctx, next)
		}
		if errors.Is(err, tokenstore.ErrChanged) || errors.Is(err, tokenstore.ErrExists) || errors.Is(err, tokenstore.ErrNotFound) {
			if err := pause(ctx, round); err != nil {
				return registerResponse{}, err
			}
			continue
		}
		if err != nil {
			return registerResponse{}, err
		}
		return f.registered(c, &next, req, secret), nil
	}
}

// judgeAll lets the policy judge what the record does not hold yet, and
// reports whether anything came of it. An approval that has ended is judged
// anew, from nothing but what an operator denied.
func (f *Flow) judgeAll(next *tokenstore.Agent, req *registerRequest, agent ath.AgentID, developer tokenstore.Developer, known bool) (changed bool, err error) {
	if next.Suspended {
		return false, ath.Errorf(ath.AgentUnapproved, "The agent is suspended.")
	}
	if known && !f.Now().Before(next.ApprovalExpires) {
		if next.Standing() == tokenstore.Approved {
			next.Approvals, next.RedirectURIs = barredOnly(next.Approvals), nil
		}
		next.ApprovalExpires = time.Time{}
	}
	for _, asked := range req.Providers {
		id := asked.ID
		p := f.Providers.Lookup(asked.ID)
		if p != nil {
			id = p.ID
		}
		a := next.Approval(id)
		isNew := a == nil
		if isNew {
			if len(next.Approvals) >= maxRequestedProvider {
				return false, invalidField("requested_providers", "An agent may ask for at most %d providers.", maxRequestedProvider)
			}
			next.Approvals = append(next.Approvals, tokenstore.Approval{Provider: id})
			a = &next.Approvals[len(next.Approvals)-1]
		}
		was := *a
		if p == nil {
			a.Denied = a.Denied.Union(asked.Scopes)
			a.DenialReason = "There is no such provider."
		} else {
			f.judgeScopes(next, a, p.ID, p.Scopes, asked.Scopes, agent, developer.ID)
		}
		if isNew || len(a.Approved) > len(was.Approved) || len(a.Pending) > len(was.Pending) || len(a.Denied) > len(was.Denied) {
			changed = true
		}
		if len(a.Approved)+len(a.Pending)+len(a.Denied) > ath.MaxScopes {
			return false, invalidField("requested_providers", "An agent may ask for at most %d scopes of a provider.", ath.MaxScopes)
		}
	}
	if next.ApprovalExpires.IsZero() {
		next.ApprovalExpires = f.Now().UTC().Add(DefaultApproval).Truncate(time.Second)
	}
	return changed, nil
}

// judgeScopes judges the scopes that are not approved yet. One that is under
// review stays there unless today's policy approves it.
func (f *Flow) judgeScopes(next *tokenstore.Agent, a *tokenstore.Approval, provider string, available ath.Scopes, asked []string, agent ath.AgentID, developer string) {
	for _, s := range asked {
		if a.Approved.Has(s) || a.Barred.Has(s) { // an operator's word stands
			continue
		}
		action, expires := Deny, time.Duration(0)
		reason := "The provider does not offer every scope asked for."
		if available.Has(s) {
			action, expires = f.Policy.judge(agent, developer, provider, s)
			reason = "The operator's policy does not allow every scope asked for."
		}
		one := ath.Scopes{s}
		switch action {
		case Approve:
			a.Approved, a.Pending, a.Denied = a.Approved.Union(one), a.Pending.Minus(one), a.Denied.Minus(one)
			end := f.Now().UTC().Add(expires).Truncate(time.Second)
			if next.ApprovalExpires.IsZero() || end.Before(next.ApprovalExpires) {
				next.ApprovalExpires = end
			}
		case Review:
			a.Pending, a.Denied = a.Pending.Union(one), a.Denied.Minus(one)
		default:
			if !a.Pending.Has(s) {
				a.Denied = a.Denied.Union(one)
				a.DenialReason = reason
			}
		}
	}
	if len(a.Denied) == 0 {
		a.DenialReason = ""
	}
}

// registered builds the reply and completes the event.
func (f *Flow) registered(c *call, a *tokenstore.Agent, req *registerRequest, secret ath.Secret) registerResponse {
	resp := registerResponse{
		ClientID: a.ClientID, ClientSecret: secret.Reveal(), Status: string(a.Standing()),
		ApprovalExpires: a.ApprovalExpires.Format(time.RFC3339), Providers: []approvedProvider{},
	}
	for _, p := range a.Approvals {
		name := p.Provider
		for _, asked := range req.Providers { // T-5: by the name that the agent used
			if known := f.Providers.Lookup(asked.ID); known != nil && known.ID == p.Provider {
				name = asked.ID
			}
		}
		resp.Providers = append(resp.Providers, approvedProvider{
			ID: name, Approved: orEmpty(p.Approved), Denied: orEmpty(p.Denied), DenialReason: p.DenialReason,
		})
		c.event.Effective = c.event.Effective.Union(p.Approved)
		c.event.Denied = c.event.Denied.Union(p.Denied)
	}
	c.event.Kind = audit.AgentRegistered
	if a.Standing() == tokenstore.Denied {
		c.event.Kind, c.event.Reason = audit.AgentRegistrationDenied, "policy"
	}
	return resp
}

// checkRegister checks the shape of the request, before anything is fetched.
func (f *Flow) checkRegister(req *registerRequest) (ath.AgentID, error) {
	agent, err := ath.ParseAgentID(req.AgentID, f.AllowHTTP)
	if err != nil {
		return ath.AgentID{}, invalidField("agent_id", "The agent_id is not acceptable: %v.", err)
	}
	if req.Attestation == "" {
		return agent, ath.Errorf(ath.InvalidAttestation, "agent_attestation is missing.").WithStatus(400)
	}
	for field, s := range map[string]string{
		"developer.name": req.Developer.Name, "developer.id": req.Developer.ID,
		"developer.contact": req.Developer.Contact, "purpose": req.Purpose,
	} {
		if len(s) > maxTextBytes {
			return agent, invalidField(field, "The field is longer than %d bytes.", maxTextBytes)
		}
	}
	if req.Developer.Name == "" || req.Developer.ID == "" {
		return agent, invalidField("developer", "developer.name and developer.id are required.")
	}
	if len(req.Providers) == 0 || len(req.Providers) > maxRequestedProvider {
		return agent, invalidField("requested_providers", "Between 1 and %d providers must be asked for.", maxRequestedProvider)
	}
	for _, p := range req.Providers {
		if p.ID == "" || len(p.ID) > maxTextBytes {
			return agent, invalidField("requested_providers.provider_id", "A provider_id is missing or too long.")
		}
		if len(p.Scopes) == 0 || len(p.Scopes) > ath.MaxScopes {
			return agent, invalidField("requested_providers.scopes", "Between 1 and %d scopes must be asked for.", ath.MaxScopes)
		}
		for _, s := range p.Scopes {
			if s == "" || len(s) > ath.MaxScopeBytes {
				return agent, invalidField("requested_providers.scopes", "A scope is empty or too long.")
			}
		}
	}
	if len(req.RedirectURIs) > maxRedirectURIs {
		return agent, invalidField("redirect_uris", "An agent may register at most %d redirect_uris.", maxRedirectURIs)
	}
	for _, u := range req.RedirectURIs {
		if err := checkRedirectURI(u); err != nil {
			return agent, invalidField("redirect_uris", "A redirect_uri is not acceptable: %v.", err)
		}
	}
	return agent, nil
}

// checkRedirectURI applies R-4.
func checkRedirectURI(s string) error {
	if s == "" || len(s) > maxRedirectURIBytes {
		return errors.New("it is empty or too long")
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || strings.IndexByte("\\\"<>^`{|}", s[i]) >= 0 {
			return errors.New("it holds a character that a URL may not hold")
		}
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || !u.IsAbs():
		return errors.New("it is not an absolute URL")
	case strings.Contains(s, "#"):
		return errors.New("it has a fragment")
	case u.User != nil:
		return errors.New("it holds user information")
	case u.Scheme == "https" && u.Hostname() != "":
		return nil
	case u.Scheme == "http" && ath.IsLoopbackHost(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return errors.New("http is for loopback hosts only")
	case strings.Contains(u.Scheme, ".") && u.Scheme != "":
		return nil // a private-use scheme (RFC 8252, section 7.1)
	}
	return errors.New("its scheme must be https, http on a loopback host, or a private-use scheme with a dot")
}

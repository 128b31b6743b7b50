package athflow

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
)

// Limits on what a registration may say.
const (
	maxRedirectURIs     = 20
	maxRedirectURIBytes = 2048

	// What a registration may occupy in the store, sealed: under review, where
	// nobody has vouched for it yet, and approved. Operators choose how long the
	// names of scopes are, so that those of an approved agent do not count.
	maxPendingBytes  = 3000
	maxApprovedBytes = 8 << 10

	maxRounds = 16 // of writers who meet at one registration
)

// register verifies who asks, lets the policy judge what it asks for, and
// stores one record: a new one, or the old one with something added.
func (f *Flow) register(ctx context.Context, c *httpapi.Call, req *api.RegisterRequest) (api.RegisterReply, error) {
	agent, err := f.checkRegister(req)
	if !agent.IsZero() {
		c.Event.AgentID = agent.String()
	}
	if err != nil {
		return api.RegisterReply{}, err
	}
	identity, err := f.verify(ctx, c, agent, req.Attestation.Reveal(), f.audiences(ath.RegisterPath), ath.InvalidAttestation)
	if err != nil {
		return api.RegisterReply{}, err
	}
	for _, p := range req.Providers {
		c.Event.Requested = append(c.Event.Requested, p.Scopes...)
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
		if err := f.Registrations.CheckHost(ctx, agent.String()); err != nil {
			return api.RegisterReply{}, err
		}
		held, err := f.Store.Agent(ctx, agent.Tag())
		known := err == nil
		if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			return api.RegisterReply{}, err
		}
		next := fresh
		if known {
			next = held.Value
			next.Approvals = slices.Clone(next.Approvals)
		}
		if next.ID != agent.String() {
			return api.RegisterReply{}, errors.New("two agent ids share one tag")
		}
		v, err := f.judgeAll(&next, req, agent, developer, known)
		if err != nil {
			return api.RegisterReply{}, err
		}
		if !v.changed {
			return api.RegisterReply{}, f.registeredAlready(next.ClientID)
		}
		if known {
			if err := f.keepsWhatWasReviewed(&held.Value, req, agent, identity, developer); err != nil {
				return api.RegisterReply{}, err
			}
		}
		for _, u := range req.RedirectURIs {
			if !slices.Contains(next.RedirectURIs, u) {
				next.RedirectURIs = append(slices.Clone(next.RedirectURIs), u)
			}
		}
		if len(next.RedirectURIs) > maxRedirectURIs {
			return api.RegisterReply{}, httpapi.InvalidField("redirect_uris", "An agent may register at most %d redirect_uris.", maxRedirectURIs)
		}
		if s := next.Standing(); s != tokenstore.Approved && s != tokenstore.Pending {
			// Nothing is kept of whom nobody approves or looks at: what was
			// denied is answered, and its client_id leads nowhere.
			next.ClientID = fresh.ClientID
			return f.registered(c, &next, req, v, secret), nil
		}
		next.SecretDigest = ath.DigestOf(secret.Reveal())
		next.Developer = developer
		if req.Purpose != "" {
			next.Purpose = req.Purpose
		}
		if identity.Name != "" {
			next.Name = identity.Name
		}
		if err := fits(&next); err != nil {
			return api.RegisterReply{}, err
		}
		// What an agent that is approved already waits for is not a stranger's.
		if next.Standing() == tokenstore.Pending {
			if err := f.reservePending(ctx, c, agent); err != nil {
				return api.RegisterReply{}, err
			}
		}
		resp := f.registered(c, &next, req, v, secret)
		if err := f.Commit(c); err != nil {
			return api.RegisterReply{}, err
		}
		if known {
			if err = f.Store.SwapAgent(ctx, held, next); err == nil {
				f.Registrations.Release(ctx, &held.Value, &next)
			}
		} else {
			err = f.Store.CreateAgent(ctx, next)
		}
		if errors.Is(err, tokenstore.ErrChanged) || errors.Is(err, tokenstore.ErrExists) || errors.Is(err, tokenstore.ErrNotFound) {
			if round == maxRounds {
				return api.RegisterReply{}, ath.Errorf(ath.InternalError, "The agent registers too often at once; try again.").
					WithStatus(http.StatusServiceUnavailable).WithCause(err)
			}
			if err := httpapi.Backoff(ctx, round); err != nil {
				return api.RegisterReply{}, err
			}
			continue
		}
		if err != nil {
			return api.RegisterReply{}, err
		}
		return resp, nil
	}
}

// listed is the name under which agents find a provider that a record names.
func (f *Flow) listed(name string) string {
	if p := f.Providers.Current().Get(name); p != nil {
		return p.Listed()
	}
	return name
}

// registeredAlready tells an agent that has proved who it is how it comes out:
// it may have lost its credentials, and nobody can tell it the secret again.
func (f *Flow) registeredAlready(clientID string) error {
	own := f.PublicURL + ath.AgentsPath + clientID
	return ath.Errorf(ath.Conflict, "The agent is registered already and asks for nothing new. "+
		"If its credentials are lost, remove the registration with a fresh attestation (DELETE %s) and register again, or ask the operator to remove it.", own).
		WithDetail("client_id", clientID).
		WithDetail("remove", map[string]any{
			"method": http.MethodDelete, "url": own, "authorization": "Bearer <a fresh attestation>", "audience": own,
		})
}

// registered builds the reply and completes the event. Those providers that
// were just asked for come first, in the order asked: clients look at the first
// one.
func (f *Flow) registered(c *httpapi.Call, a *tokenstore.Agent, req *api.RegisterRequest, v verdict, secret ath.Secret) api.RegisterReply {
	resp := api.RegisterReply{
		ClientID: a.ClientID, ClientSecret: api.OpenSecret(secret), Status: string(a.Standing()),
		ApprovalExpires: a.ApprovalExpires.Format(time.RFC3339), Providers: []api.ApprovedProvider{},
	}
	c.Event.Effective, c.Event.Denied, c.Event.Reason = nil, nil, ""
	names, order := f.justAsked(req, v.with(a.Approvals))
	for _, p := range order {
		name, asked := names[p.Provider]
		if !asked {
			name = f.listed(p.Provider)
		}
		resp.Providers = append(resp.Providers, api.ApprovedProvider{
			ID: name, Approved: httpapi.List(p.Approved), Denied: httpapi.List(p.Denied), DenialReason: p.DenialReason,
		})
		c.Event.Effective, c.Event.Denied = append(c.Event.Effective, p.Approved...), append(c.Event.Denied, p.Denied...)
	}
	c.Event.Kind = audit.AgentRegistered
	if a.Standing() == tokenstore.Denied {
		c.Event.Kind, c.Event.Reason = audit.AgentRegistrationDenied, "policy"
	}
	return resp
}

// justAsked returns the approvals with those first that the request asks for,
// in its order, and the names that it asks by (T-5).
func (f *Flow) justAsked(req *api.RegisterRequest, all []tokenstore.Approval) (names map[string]string, order []tokenstore.Approval) {
	names = map[string]string{}
	set := f.Providers.Current()
	for _, asked := range req.Providers {
		known := set.Lookup(asked.ID)
		for _, p := range all {
			if p.Provider != asked.ID && (known == nil || !known.Goes(p.Provider)) {
				continue
			}
			if _, twice := names[p.Provider]; !twice {
				order = append(order, p)
			}
			names[p.Provider] = asked.ID
		}
	}
	for _, p := range all {
		if _, asked := names[p.Provider]; !asked {
			order = append(order, p)
		}
	}
	return names, order
}

package admin

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
)

const (
	defaultListing = 100
	maxListing     = 1000
)

func (s *API) viewOf(a *tokenstore.Agent) api.Agent {
	v := api.Agent{
		ClientID: a.ClientID, AgentID: a.ID, Status: string(a.Standing()),
		Name: a.Name, Developer: api.Developer(a.Developer), Purpose: a.Purpose,
		Providers: []api.AgentApproval{}, RedirectURIs: httpapi.List(a.RedirectURIs),
		ApprovalExpires: instant(a.ApprovalExpires), Registered: instant(a.Registered),
	}
	if identity := s.Attest.Pinned(a.ID); identity != nil {
		v.Pinned, v.Name, v.Developer.Name, v.Developer.ID = true, identity.Name, identity.Developer.Name, identity.Developer.ID
	}
	for _, p := range a.Approvals {
		v.Providers = append(v.Providers, api.AgentApproval{
			ID: p.Provider, Approved: httpapi.List(p.Approved), Pending: httpapi.List(p.Pending),
			Denied: httpapi.List(p.Denied), OperatorDenied: httpapi.List(p.OperatorDenied), DenialReason: p.DenialReason,
		})
	}
	return v
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// storeFault says to an operator what is wrong with what is stored. Everybody
// else hears that something is.
func storeFault(err error) error {
	switch {
	case errors.Is(err, tokenstore.ErrOtherKeyset):
		return ath.Errorf(ath.InternalError, "T%s. Nothing that it holds is read.", strings.TrimPrefix(tokenstore.Reason(err), "t")).
			WithDetail("reason", "other_keyset").WithCause(err)
	case errors.Is(err, tokenstore.ErrCorrupt):
		return ath.Errorf(ath.InternalError, "The stored record does not open: it was written with another keyset, or tampered with.").
			WithDetail("reason", "record_corrupt").WithCause(err)
	}
	return err
}

// listAgents is one page of registrations. With ?status=pending it is whatever
// waits for an operator: also agents that are approved and asked for more.
func (s *API) listAgents(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.AgentList, error) {
	status, limit, cursor, err := listingQuery(c.Query)
	if err != nil {
		return api.AgentList{}, err
	}
	page, err := s.Store.Agents(ctx, cursor, limit, func(a *tokenstore.Agent) bool {
		return status == "" || a.Standing() == status || status == tokenstore.Pending && waits(a)
	})
	if err != nil {
		return api.AgentList{}, err
	}
	l := api.AgentList{Agents: []api.Agent{}, Unreadable: httpapi.List(page.Corrupt), Next: string(page.Next)}
	for i := range page.Agents {
		l.Agents = append(l.Agents, s.viewOf(&page.Agents[i]))
	}
	c.Quiet = true
	return l, nil
}

func waits(a *tokenstore.Agent) bool {
	return slices.ContainsFunc(a.Approvals, func(p tokenstore.Approval) bool { return len(p.Pending) > 0 })
}

// listingQuery is strict: a filter that was misspelt must not list everything.
func listingQuery(q url.Values) (status tokenstore.Standing, limit int, cursor ath.Tag, err error) {
	limit = defaultListing
	for name, values := range q {
		value := values[0]
		switch {
		case len(values) > 1:
			return "", 0, "", twice(name)
		case name == "status":
			status = tokenstore.Standing(value)
			if !slices.Contains([]tokenstore.Standing{tokenstore.Approved, tokenstore.Pending, tokenstore.Denied, tokenstore.Suspended}, status) {
				return "", 0, "", httpapi.InvalidField(name, "status must be approved, pending, denied or suspended.")
			}
		case name == "limit":
			if limit, err = limitOf(value); err != nil {
				return "", 0, "", err
			}
		case name == "cursor":
			if cursor, err = ath.ParseTag(value); err != nil {
				return "", 0, "", httpapi.InvalidField(name, "cursor must be the next_cursor of a page before.")
			}
		default:
			return "", 0, "", ath.Errorf(ath.InvalidRequest, "There is a parameter beside status, limit and cursor.")
		}
	}
	return status, limit, cursor, nil
}

func twice(name string) error { return httpapi.InvalidField(name, "The parameter is given twice.") }

// limitOf reads how much a page may hold.
func limitOf(value string) (int, error) {
	limit, err := strconv.Atoi(value)
	if err != nil || limit < 1 || limit > maxListing {
		return 0, httpapi.InvalidField("limit", "limit must be a number between 1 and %d.", maxListing)
	}
	return limit, nil
}

func (s *API) showAgent(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.Agent, error) {
	held, err := s.Registrations.At(ctx, c)
	if err != nil {
		return api.Agent{}, err
	}
	c.Quiet = true
	return s.viewOf(&held.Value), nil
}

// decideAgent makes one operator's decision about the registration in the path.
func (s *API) decideAgent(ctx context.Context, c *httpapi.Call, kind audit.Kind, change func(*tokenstore.Agent) error) (api.Agent, error) {
	held, err := s.Registrations.At(ctx, c)
	if err != nil {
		return api.Agent{}, err
	}
	a, err := s.Registrations.Edit(ctx, held, func(a *tokenstore.Agent) (bool, error) {
		before := stateOf(a)
		if err := change(a); err != nil {
			return false, err
		}
		decided(&c.Event, kind, before, a)
		if kind.Revokes() {
			return false, nil
		}
		return false, s.Commit(c)
	})
	if err != nil {
		c.Event.Kind, c.Event.Before, c.Event.After = "", "", ""
		return api.Agent{}, err
	}
	return s.viewOf(a), nil
}

// decided completes the event of an operator's decision.
func decided(e *audit.Event, kind audit.Kind, before members, a *tokenstore.Agent) {
	e.Kind, e.Effective, e.Denied = kind, nil, nil
	for _, p := range a.Approvals {
		e.Effective, e.Denied = append(e.Effective, p.Approved...), append(e.Denied, p.Denied...)
	}
	changes(e, before, stateOf(a))
}

func (s *API) approveAgent(ctx context.Context, c *httpapi.Call, req *api.ApproveRequest) (api.Agent, error) {
	return s.decideAgent(ctx, c, audit.AgentApproved, func(a *tokenstore.Agent) error { return s.approve(a, req) })
}

func (s *API) denyAgent(ctx context.Context, c *httpapi.Call, req *api.DenyRequest) (api.Agent, error) {
	return s.decideAgent(ctx, c, audit.AgentDenied, func(a *tokenstore.Agent) error { return s.deny(a, req) })
}

// suspendAgent kills every live token of the agent by one write, and
// they stay dead when it is resumed; then it ends the connections behind them.
func (s *API) suspendAgent(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.Agent, error) {
	v, err := s.decideAgent(ctx, c, audit.AgentSuspended, func(a *tokenstore.Agent) error {
		suspend(a)
		return nil
	})
	if err == nil {
		s.Registrations.EndConnections(ctx, c, v.AgentID)
	}
	return v, err
}

func suspend(a *tokenstore.Agent) {
	if !a.Suspended {
		a.Suspended = true
		a.Generation++
	}
}

// resumeAgent ends a suspension. Users consent again.
func (s *API) resumeAgent(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.Agent, error) {
	return s.decideAgent(ctx, c, audit.AgentResumed, func(a *tokenstore.Agent) error {
		if err := s.Registrations.CheckHost(ctx, a.ID); err != nil {
			if e := (*ath.Error)(nil); errors.As(err, &e) {
				return ath.Errorf(ath.Conflict, "The agent's host is suspended: resume that first.")
			}
			return err
		}
		a.Suspended = false
		return nil
	})
}

// removeAgent forgets an agent, with everything that operators said of it.
func (s *API) removeAgent(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.RemoveReply, error) {
	held, err := s.Registrations.At(ctx, c)
	if err != nil {
		return api.RemoveReply{}, err
	}
	if _, err := s.Store.EndConnections(ctx, held.Value.ID, s.Now().UTC()); err != nil {
		return api.RemoveReply{}, err
	}
	if _, err := s.Registrations.Edit(ctx, held, func(*tokenstore.Agent) (bool, error) { return true, nil }); err != nil && !httpapi.IsNotFound(err) {
		return api.RemoveReply{}, err
	}
	s.Registrations.EndConnections(ctx, c, held.Value.ID)
	c.Event.Kind = audit.AgentRemoved
	changes(&c.Event, stateOf(&held.Value), nil)
	return api.RemoveReply{Removed: true}, nil
}

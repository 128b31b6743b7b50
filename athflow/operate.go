package athflow

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/tokenstore"
)

const (
	defaultListing = 100
	maxListing     = 1000
)

// agentView is a registration as operators see it. It holds no secret.
type agentView struct {
	ClientID        string         `json:"client_id"`
	AgentID         string         `json:"agent_id"`
	Status          string         `json:"agent_status"`
	Name            string         `json:"name"`
	Developer       developerView  `json:"developer"`
	Purpose         string         `json:"purpose"`
	Providers       []providerView `json:"providers"`
	ApprovalExpires string         `json:"approval_expires,omitempty"`
	RedirectURIs    []string       `json:"redirect_uris"`
	Registered      string         `json:"registered_at,omitempty"`
	Pinned          bool           `json:"pinned"` // its key, and what it is called, are the operator's word
}

type developerView struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Contact string `json:"contact,omitempty"`
}

type providerView struct {
	ID             string   `json:"provider_id"`
	Approved       []string `json:"approved_scopes"`
	Pending        []string `json:"pending_scopes"`
	Denied         []string `json:"denied_scopes"`
	OperatorDenied []string `json:"denied_by_operator"`
	DenialReason   string   `json:"denial_reason,omitempty"`
}

func (f *Flow) viewOf(a *tokenstore.Agent) agentView {
	v := agentView{
		ClientID: a.ClientID, AgentID: a.ID, Status: string(a.Standing()),
		Name: a.Name, Developer: developerView(a.Developer), Purpose: a.Purpose,
		Providers: []providerView{}, RedirectURIs: orEmpty(a.RedirectURIs),
		ApprovalExpires: instant(a.ApprovalExpires), Registered: instant(a.Registered),
	}
	if identity := f.Attest.Pinned(a.ID); identity != nil {
		v.Pinned, v.Name, v.Developer.Name, v.Developer.ID = true, identity.Name, identity.Developer.Name, identity.Developer.ID
	}
	for _, p := range a.Approvals {
		v.Providers = append(v.Providers, providerView{
			ID: p.Provider, Approved: orEmpty(p.Approved), Pending: orEmpty(p.Pending),
			Denied: orEmpty(p.Denied), OperatorDenied: orEmpty(p.OperatorDenied), DenialReason: p.DenialReason,
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

// byOperator lets a step run for operators only, under the name of their token
// (O-1).
func byOperator[Req, Resp any](f *Flow, step func(context.Context, *call, *Req) (Resp, error)) func(context.Context, *call, *Req) (Resp, error) {
	return func(ctx context.Context, c *call, req *Req) (Resp, error) {
		name, ok := f.operator(c.header)
		if !ok {
			var none Resp
			return none, ath.Errorf(ath.Unauthorized, "An admin token is required.")
		}
		c.event.By = name
		resp, err := step(ctx, c, req)
		return resp, storeFault(err)
	}
}

// storeFault says to an operator what is wrong with what is stored. Everybody
// else hears that something is.
func storeFault(err error) error {
	switch {
	case errors.Is(err, tokenstore.ErrOtherKeyset):
		return ath.Errorf(ath.InternalError, "This Redis was written with another keyset: nothing that it holds opens.").
			WithDetail("reason", "other_keyset").WithCause(err)
	case errors.Is(err, tokenstore.ErrCorrupt):
		return ath.Errorf(ath.InternalError, "The stored record does not open: it was written with another keyset, or tampered with.").
			WithDetail("reason", "record_corrupt").WithCause(err)
	}
	return err
}

type listing struct {
	Agents     []agentView `json:"agents"`
	Unreadable []string    `json:"unreadable"` // keys of records that do not open
	Next       string      `json:"next_cursor,omitempty"`
}

// listAgents is one page of registrations. With ?status=pending it is whatever
// waits for an operator: also agents that are approved and asked for more.
func (f *Flow) listAgents(ctx context.Context, c *call, _ *nothing) (listing, error) {
	status, limit, cursor, err := listingQuery(c.query)
	if err != nil {
		return listing{}, err
	}
	page, err := f.Store.Agents(ctx, cursor, limit, func(a *tokenstore.Agent) bool {
		return status == "" || a.Standing() == status || status == tokenstore.Pending && waits(a)
	})
	if err != nil {
		return listing{}, err
	}
	l := listing{Agents: []agentView{}, Unreadable: orEmpty(page.Corrupt), Next: string(page.Next)}
	for i := range page.Agents {
		l.Agents = append(l.Agents, f.viewOf(&page.Agents[i]))
	}
	c.quiet = true
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
			return "", 0, "", invalidField(name, "The parameter is given twice.")
		case name == "status":
			status = tokenstore.Standing(value)
			if !slices.Contains([]tokenstore.Standing{tokenstore.Approved, tokenstore.Pending, tokenstore.Denied, tokenstore.Suspended}, status) {
				return "", 0, "", invalidField(name, "status must be approved, pending, denied or suspended.")
			}
		case name == "limit":
			if limit, err = strconv.Atoi(value); err != nil || limit < 1 || limit > maxListing {
				return "", 0, "", invalidField(name, "limit must be a number between 1 and %d.", maxListing)
			}
		case name == "cursor":
			if cursor, err = ath.ParseTag(value); err != nil {
				return "", 0, "", invalidField(name, "cursor must be the next_cursor of a page before.")
			}
		default:
			return "", 0, "", ath.Errorf(ath.InvalidRequest, "There is a parameter beside status, limit and cursor.")
		}
	}
	return status, limit, cursor, nil
}

func (f *Flow) showAgent(ctx context.Context, c *call, _ *nothing) (agentView, error) {
	held, err := f.agentAt(ctx, c)
	if err != nil {
		return agentView{}, err
	}
	c.quiet = true
	return f.viewOf(&held.Value), nil
}

// decideAgent makes one operator's decision about the registration in the path.
func (f *Flow) decideAgent(ctx context.Context, c *call, kind audit.Kind, change func(*tokenstore.Agent) error) (agentView, error) {
	held, err := f.agentAt(ctx, c)
	if err != nil {
		return agentView{}, err
	}
	a, err := f.edit(ctx, held, func(a *tokenstore.Agent) (bool, error) {
		if err := change(a); err != nil {
			return false, err
		}
		c.decided(kind, a)
		if kind.Revokes() {
			return false, nil
		}
		return false, f.commit(c)
	})
	if err != nil {
		c.event.Kind = ""
		return agentView{}, err
	}
	return f.viewOf(a), nil
}

// decided completes the event of an operator's decision.
func (c *call) decided(kind audit.Kind, a *tokenstore.Agent) {
	c.event.Kind, c.event.Effective, c.event.Denied = kind, nil, nil
	for _, p := range a.Approvals {
		c.event.Effective, c.event.Denied = append(c.event.Effective, p.Approved...), append(c.event.Denied, p.Denied...)
	}
}

func (f *Flow) approveAgent(ctx context.Context, c *call, req *approveRequest) (agentView, error) {
	return f.decideAgent(ctx, c, audit.AgentApproved, func(a *tokenstore.Agent) error { return f.approve(a, req) })
}

func (f *Flow) denyAgent(ctx context.Context, c *call, req *denyRequest) (agentView, error) {
	return f.decideAgent(ctx, c, audit.AgentDenied, func(a *tokenstore.Agent) error { return f.deny(a, req) })
}

// suspendAgent kills every live token of the agent by one write, and
// they stay dead when it is resumed; then it ends the connections behind them.
func (f *Flow) suspendAgent(ctx context.Context, c *call, _ *nothing) (agentView, error) {
	v, err := f.decideAgent(ctx, c, audit.AgentSuspended, func(a *tokenstore.Agent) error {
		suspend(a)
		return nil
	})
	if err == nil {
		f.endConnections(ctx, c, v.AgentID)
	}
	return v, err
}

func suspend(a *tokenstore.Agent) {
	if !a.Suspended {
		a.Suspended = true
		a.Generation++
	}
}

// resumeAgent ends a suspension. Users consent anew.
func (f *Flow) resumeAgent(ctx context.Context, c *call, _ *nothing) (agentView, error) {
	return f.decideAgent(ctx, c, audit.AgentResumed, func(a *tokenstore.Agent) error {
		if err := f.hostStands(ctx, a.ID); err != nil {
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
func (f *Flow) removeAgent(ctx context.Context, c *call, _ *nothing) (api.RemoveReply, error) {
	held, err := f.agentAt(ctx, c)
	if err != nil {
		return api.RemoveReply{}, err
	}
	if _, err := f.Store.EndConnections(ctx, held.Value.ID, f.Now().UTC()); err != nil {
		return api.RemoveReply{}, err
	}
	if _, err := f.edit(ctx, held, func(*tokenstore.Agent) (bool, error) { return true, nil }); err != nil && !isNotFound(err) {
		return api.RemoveReply{}, err
	}
	f.endConnections(ctx, c, held.Value.ID)
	c.event.Kind = audit.AgentRemoved
	return api.RemoveReply{Removed: true}, nil
}

package athflow

import (
	"context"
	"errors"
	"slices"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/tokenstore"
)

// Whoever is suspended by its agent_id comes back under another one: of a host
// that is one's own there are as many as one likes. So operators suspend hosts.
// The mark is written first; then each agent that is registered is suspended,
// which its tokens' next decision sees. Who registers meanwhile finds the mark
// at register, authorize and token, and gets no token that a decision could see.

// hostRequest names hosts: one, or with "*." all below a name.
type hostRequest struct {
	Host string `json:"host"`
}

func (*hostRequest) optional() string { return "host" }

type hostView struct {
	Host  string `json:"host"`
	By    string `json:"by"`
	Since string `json:"since"`
}

type hostListing struct {
	Hosts []hostView `json:"hosts"`
}

type hostSuspended struct {
	Host      string `json:"host"`
	Suspended int    `json:"suspended_agents"`         // by this request
	Already   int    `json:"already_suspended_agents"` // before it
}

type hostResumed struct {
	Host      string `json:"host"`
	Suspended int    `json:"suspended_agents"` // which stay so, each until it is resumed
}

// hostStands refuses an agent whose host is suspended, also one that registered
// while that was done.
func (f *Flow) hostStands(ctx context.Context, agentID string) error {
	held, err := f.Store.HostSuspensions(ctx)
	if err != nil {
		return err
	}
	host := ath.AgentHost(agentID)
	for _, s := range held.Value {
		if s.Hosts.Match(host) {
			return ath.Errorf(ath.AgentUnapproved, "The agent's host is suspended.").WithDetail("agent_status", string(tokenstore.Suspended))
		}
	}
	return nil
}

// goodStanding is inGoodStanding for a step that gives something.
func (f *Flow) goodStanding(ctx context.Context, a *tokenstore.Agent) error {
	if err := f.inGoodStanding(a); err != nil {
		return err
	}
	return f.hostStands(ctx, a.ID)
}

func (f *Flow) listHosts(ctx context.Context, c *call, _ *nothing) (hostListing, error) {
	held, err := f.Store.HostSuspensions(ctx)
	if err != nil {
		return hostListing{}, err
	}
	l := hostListing{Hosts: []hostView{}}
	for _, s := range held.Value {
		l.Hosts = append(l.Hosts, hostView{Host: s.Hosts.String(), By: s.By, Since: instant(s.Since)})
	}
	c.quiet = true
	return l, nil
}

func (f *Flow) suspendHost(ctx context.Context, c *call, req *hostRequest) (hostSuspended, error) {
	hosts, err := hostsOf(req)
	if err != nil {
		return hostSuspended{}, err
	}
	c.event.Kind, c.event.Host = audit.HostSuspended, hosts.String()
	err = f.editHosts(ctx, func(all []tokenstore.HostSuspension) ([]tokenstore.HostSuspension, error) {
		if slices.ContainsFunc(all, func(s tokenstore.HostSuspension) bool { return s.Hosts == hosts }) {
			return all, nil
		}
		if len(all) >= tokenstore.MaxHostSuspensions {
			return nil, ath.Errorf(ath.Conflict, "At most %d hosts can be suspended: suspend a name above some of them, and resume those.", tokenstore.MaxHostSuspensions)
		}
		return append(slices.Clone(all), tokenstore.HostSuspension{Hosts: hosts, By: c.event.By, Since: f.Now().UTC()}), nil
	})
	if err != nil {
		c.event.Kind = ""
		return hostSuspended{}, err
	}
	// From here on nobody new of the host gets anything.
	reply := hostSuspended{Host: hosts.String()}
	err = f.agentsOf(ctx, hosts, func(a *tokenstore.Agent) error {
		if a.Suspended {
			reply.Already++
			return nil
		}
		switch did, err := f.suspendOne(ctx, c, a); {
		case err != nil:
			return err
		case did:
			reply.Suspended++
		}
		return nil
	})
	return reply, err
}

// suspendOne suspends an agent as it is by now, whatever was read of it.
func (f *Flow) suspendOne(ctx context.Context, c *call, a *tokenstore.Agent) (did bool, err error) {
	held, err := f.Store.Agent(ctx, ath.AgentTag(a.ID))
	if errors.Is(err, tokenstore.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	own := *c
	own.event.Kind, own.event.AgentID, own.event.Host = audit.AgentSuspended, a.ID, ""
	now, err := f.edit(ctx, held, func(a *tokenstore.Agent) (bool, error) {
		did = !a.Suspended
		suspend(a)
		own.decided(audit.AgentSuspended, a)
		return false, nil
	})
	if isNotFound(err) { // it is gone, or has registered anew, behind the mark
		return false, nil
	}
	if err == nil && did {
		f.record(ctx, own.event)
		f.endConnections(ctx, c, now.ID)
	}
	return did, err
}

// resumeHost takes the mark away. Agents that were suspended stay so: it is not
// known of which of them the operator thinks better now.
func (f *Flow) resumeHost(ctx context.Context, c *call, req *hostRequest) (hostResumed, error) {
	hosts, err := hostsOf(req)
	if err != nil {
		return hostResumed{}, err
	}
	c.event.Kind, c.event.Host = audit.HostResumed, hosts.String()
	err = f.editHosts(ctx, func(all []tokenstore.HostSuspension) ([]tokenstore.HostSuspension, error) {
		rest := slices.DeleteFunc(slices.Clone(all), func(s tokenstore.HostSuspension) bool { return s.Hosts == hosts })
		if len(rest) == len(all) {
			return nil, ath.Errorf(ath.NotFound, "This host is not suspended. What is suspended is listed at %s.", ath.AdminHostsPath)
		}
		return rest, f.commit(c)
	})
	if err != nil {
		c.event.Kind = ""
		return hostResumed{}, err
	}
	reply := hostResumed{Host: hosts.String()}
	err = f.agentsOf(ctx, hosts, func(a *tokenstore.Agent) error {
		if a.Suspended {
			reply.Suspended++
		}
		return nil
	})
	return reply, err
}

func hostsOf(req *hostRequest) (ath.HostPattern, error) {
	p, err := ath.ParseHostPattern(req.Host)
	if err != nil {
		return p, invalidField("host", "host must be a host name without a port, or *. and a name for all hosts below it: %v.", err)
	}
	return p, nil
}

// editHosts moves the record on from what it is by now.
func (f *Flow) editHosts(ctx context.Context, change func([]tokenstore.HostSuspension) ([]tokenstore.HostSuspension, error)) error {
	for round := 1; ; round++ {
		held, err := f.Store.HostSuspensions(ctx)
		if err != nil {
			return err
		}
		next, err := change(held.Value)
		if err != nil {
			return err
		}
		err = f.Store.SwapHostSuspensions(ctx, held, next)
		if !errors.Is(err, tokenstore.ErrChanged) {
			return err
		}
		if err := pause(ctx, round); err != nil {
			return err
		}
	}
}

// agentsOf calls do with each registered agent of these hosts, in whatever
// spelling it registered.
func (f *Flow) agentsOf(ctx context.Context, hosts ath.HostPattern, do func(*tokenstore.Agent) error) error {
	for cursor := ath.Tag(""); ; {
		page, err := f.Store.Agents(ctx, cursor, maxListing, func(a *tokenstore.Agent) bool { return hosts.Match(ath.AgentHost(a.ID)) })
		if err != nil {
			return err
		}
		for i := range page.Agents {
			if err := do(&page.Agents[i]); err != nil {
				return err
			}
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

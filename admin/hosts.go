package admin

import (
	"context"
	"errors"
	"slices"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
)

// Whoever is suspended by its agent_id comes back under another one: of a host
// that is one's own there are as many as one likes. So operators suspend hosts.
// The mark is written first; then each agent that is registered is suspended,
// which its tokens' next decision sees. Who registers meanwhile finds the mark
// at register, authorize and token, and gets no token that a decision could see.

func (s *API) listHosts(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.HostList, error) {
	held, err := s.Store.HostSuspensions(ctx)
	if err != nil {
		return api.HostList{}, err
	}
	l := api.HostList{Hosts: []api.SuspendedHost{}}
	for _, s := range held.Value {
		l.Hosts = append(l.Hosts, api.SuspendedHost{Host: s.Hosts.String(), By: s.By, Since: instant(s.Since)})
	}
	c.Quiet = true
	return l, nil
}

func (s *API) suspendHost(ctx context.Context, c *httpapi.Call, req *api.HostRequest) (api.HostSuspendReply, error) {
	hosts, err := hostsOf(req)
	if err != nil {
		return api.HostSuspendReply{}, err
	}
	c.Event.Kind, c.Event.Host = audit.HostSuspended, hosts.String()
	mark := tokenstore.HostSuspension{Hosts: hosts, By: c.Event.By, Since: s.Now().UTC()}
	err = s.editHosts(ctx, func(all []tokenstore.HostSuspension) ([]tokenstore.HostSuspension, error) {
		was := suspensionOf(all, hosts)
		changes(&c.Event, was, was)
		if slices.ContainsFunc(all, func(s tokenstore.HostSuspension) bool { return s.Hosts == hosts }) {
			return all, nil
		}
		if len(all) >= tokenstore.MaxHostSuspensions {
			return nil, ath.Errorf(ath.Conflict, "At most %d hosts can be suspended: suspend a name above some of them, and resume those.", tokenstore.MaxHostSuspensions)
		}
		next := append(slices.Clone(all), mark)
		changes(&c.Event, nil, suspensionOf(next, hosts))
		return next, nil
	})
	if err != nil {
		c.Event.Kind = ""
		return api.HostSuspendReply{}, err
	}
	// From here on nobody new of the host gets anything.
	reply := api.HostSuspendReply{Host: hosts.String()}
	err = s.agentsOf(ctx, hosts, func(a *tokenstore.Agent) error {
		if a.Suspended {
			reply.Already++
			return nil
		}
		switch did, err := s.suspendOne(ctx, c, a); {
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
func (s *API) suspendOne(ctx context.Context, c *httpapi.Call, a *tokenstore.Agent) (did bool, err error) {
	held, err := s.Store.Agent(ctx, ath.AgentTag(a.ID))
	if errors.Is(err, tokenstore.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	own := *c
	own.Event.AgentID, own.Event.Host = a.ID, ""
	now, err := s.Registrations.Edit(ctx, held, func(a *tokenstore.Agent) (bool, error) {
		did = !a.Suspended
		before := stateOf(a)
		suspend(a)
		decided(&own.Event, audit.AgentSuspended, before, a)
		return false, nil
	})
	if httpapi.IsNotFound(err) { // it is gone, or has registered again, behind the mark
		return false, nil
	}
	if err == nil && did {
		s.Record(ctx, own.Event)
		s.Registrations.EndConnections(ctx, c, now.ID)
	}
	return did, err
}

// resumeHost takes the mark away. Agents that were suspended stay so: it is not
// known of which of them the operator thinks better now.
func (s *API) resumeHost(ctx context.Context, c *httpapi.Call, req *api.HostRequest) (api.HostResumeReply, error) {
	hosts, err := hostsOf(req)
	if err != nil {
		return api.HostResumeReply{}, err
	}
	c.Event.Kind, c.Event.Host = audit.HostResumed, hosts.String()
	err = s.editHosts(ctx, func(all []tokenstore.HostSuspension) ([]tokenstore.HostSuspension, error) {
		rest := slices.DeleteFunc(slices.Clone(all), func(s tokenstore.HostSuspension) bool { return s.Hosts == hosts })
		if len(rest) == len(all) {
			return nil, ath.Errorf(ath.NotFound, "This host is not suspended. What is suspended is listed at %s.", ath.AdminHostsPath)
		}
		changes(&c.Event, suspensionOf(all, hosts), nil)
		return rest, s.Commit(c)
	})
	if err != nil {
		c.Event.Kind = ""
		return api.HostResumeReply{}, err
	}
	reply := api.HostResumeReply{Host: hosts.String()}
	err = s.agentsOf(ctx, hosts, func(a *tokenstore.Agent) error {
		if a.Suspended {
			reply.Suspended++
		}
		return nil
	})
	return reply, err
}

func hostsOf(req *api.HostRequest) (ath.HostPattern, error) {
	p, err := ath.ParseHostPattern(req.Host)
	if err != nil {
		return p, httpapi.InvalidField("host", "host must be a host name without a port, or *. and a name for all hosts below it: %v.", err)
	}
	return p, nil
}

// editHosts moves the record on from what it is by now.
func (s *API) editHosts(ctx context.Context, change func([]tokenstore.HostSuspension) ([]tokenstore.HostSuspension, error)) error {
	for round := 1; ; round++ {
		held, err := s.Store.HostSuspensions(ctx)
		if err != nil {
			return err
		}
		next, err := change(held.Value)
		if err != nil {
			return err
		}
		err = s.Store.SwapHostSuspensions(ctx, held, next)
		if !errors.Is(err, tokenstore.ErrChanged) {
			return err
		}
		if err := httpapi.Backoff(ctx, round); err != nil {
			return err
		}
	}
}

// agentsOf calls do with each registered agent of these hosts, in whatever
// spelling it registered.
func (s *API) agentsOf(ctx context.Context, hosts ath.HostPattern, do func(*tokenstore.Agent) error) error {
	for cursor := ath.Tag(""); ; {
		page, err := s.Store.Agents(ctx, cursor, maxListing, func(a *tokenstore.Agent) bool { return hosts.Match(ath.AgentHost(a.ID)) })
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

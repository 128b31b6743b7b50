package admin

import (
	"context"
	"errors"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
)

// listConnections is one page of what users allowed.
func (s *API) listConnections(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.ConnectionList, error) {
	q, err := s.connectionQuery(ctx, c)
	if err != nil {
		return api.ConnectionList{}, err
	}
	page, err := s.connections(ctx, q)
	if err != nil {
		return api.ConnectionList{}, err
	}
	l := api.ConnectionList{Connections: []api.Connection{}, Unreadable: []string{}, Next: page.Next}
	for i := range page.Connections {
		l.Connections = append(l.Connections, s.connectionOf(c, &page.Connections[i]))
	}
	for _, tag := range page.Corrupt {
		l.Unreadable = append(l.Unreadable, ath.NewConnectionID(tag).String())
	}
	c.Quiet = true
	return l, nil
}

// connections reads a page. A cursor is the caller's word.
func (s *API) connections(ctx context.Context, q tokenstore.ConnectionQuery) (tokenstore.ConnectionPage, error) {
	page, err := s.Store.Connections(ctx, q)
	if errors.Is(err, tokenstore.ErrCursor) {
		err = httpapi.InvalidField("cursor", "cursor must be the next_cursor of a page before, of the same question.")
	}
	return page, err
}

// connectionQuery is strict, as listingQuery is.
func (s *API) connectionQuery(ctx context.Context, c *httpapi.Call) (tokenstore.ConnectionQuery, error) {
	out := tokenstore.ConnectionQuery{Limit: defaultListing}
	for name, values := range c.Query {
		value := values[0]
		var err error
		switch {
		case len(values) > 1:
			err = twice(name)
		case value == "":
			err = httpapi.InvalidField(name, "The parameter is empty.")
		case name == "agent":
			out.Agent, err = s.agentID(ctx, value)
		case name == "user" && !c.Operator.MaySeeUsers():
			err = asksForUser()
		case name == "user":
			out.User, err = userOf(name, value)
		case name == "provider":
			out.Providers, err = s.providerNames(name, value)
		case name == "limit":
			out.Limit, err = limitOf(value)
		case name == "cursor":
			out.After = value
		default:
			err = ath.Errorf(ath.InvalidRequest, "There is a parameter beside agent, user, provider, limit and cursor.")
		}
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// agentID takes an agent_id, or the client_id of a registration.
func (s *API) agentID(ctx context.Context, text string) (string, error) {
	if len(text) > ath.MaxAgentIDBytes {
		return "", httpapi.InvalidField("agent", "agent is longer than %d bytes.", ath.MaxAgentIDBytes)
	}
	client, err := ath.ParseClientID(text)
	if err != nil {
		return text, nil //nolint:nilerr // an agent_id, also one that is not registered any more
	}
	held, err := s.Store.Agent(ctx, client.Tag())
	if errors.Is(err, tokenstore.ErrNotFound) || err == nil && held.Value.ClientID != text {
		return "", ath.Errorf(ath.NotFound, "There is no such registration.")
	}
	return held.Value.ID, err
}

func userOf(field, text string) (string, error) {
	if len(text) > api.MaxUserBytes {
		return "", httpapi.InvalidField(field, "The id is longer than %d bytes.", api.MaxUserBytes)
	}
	return text, nil
}

// providerNames are all names under which connections of a provider may be stored. One
// that is misspelt must not pass for one without connections.
func (s *API) providerNames(field, name string) ([]string, error) {
	p := s.Providers.Current().Lookup(name)
	if p == nil {
		return nil, httpapi.InvalidField(field, "There is no provider of this name. Leave it out for all, also those that are not configured any more.")
	}
	return p.Names(), nil
}

func (s *API) showConnection(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.Connection, error) {
	info, err := s.Store.Connection(ctx, c.Connection.Tag())
	if errors.Is(err, tokenstore.ErrNotFound) {
		return api.Connection{}, noConnection()
	}
	if err != nil {
		return api.Connection{}, err
	}
	c.Quiet = true
	v := s.connectionOf(c, &info)
	v.AtProvider = s.atProvider(&info)
	return v, nil
}

// endConnection ends one connection on every replica (V-4). A second time it is
// answered like the first (V-3).
func (s *API) endConnection(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.ConnectionEndReply, error) {
	id := c.Connection
	info, err := s.Store.Connection(ctx, id.Tag())
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) && !errors.Is(err, tokenstore.ErrCorrupt) {
		return api.ConnectionEndReply{}, err
	}
	c.Event.Kind = audit.ConnectionEnded
	c.Event.AgentID, c.Event.UserID, c.Event.ProviderID, c.Event.Effective = info.Agent, info.User, info.Provider, nil
	end, err := s.Store.EndConnection(ctx, id.Tag(), s.Now().UTC())
	if err != nil {
		return api.ConnectionEndReply{}, err
	}
	if end.Was {
		changes(&c.Event, connectionBefore(id.String(), &info), nil)
	} else {
		c.Event.Reason = "unknown connection"
	}
	reply := api.ConnectionEndReply{ID: id.String(), Ended: end.Was}
	if reply.AtProvider, err = s.becomes(ctx, &info, end); err != nil {
		reply.AtProvider = string(end.Upstream) // it has ended, whatever cannot be said of it
	}
	return reply, nil
}

// endingTime is how long one request goes on ending a user's connections. What is
// left is for the next one.
const endingTime = 5 * time.Second

// endUser ends all that a user has at a provider, or at all (V-4). The mark is
// written first: from then on nothing that the user allowed before becomes a
// connection; then each that is there ends.
func (s *API) endUser(ctx context.Context, c *httpapi.Call, req *api.UserEndRequest) (api.UserEndReply, error) {
	if req.User == "" {
		return api.UserEndReply{}, httpapi.InvalidField("user_id", "A user is required.")
	}
	user, err := userOf("user_id", req.User)
	if err != nil {
		return api.UserEndReply{}, err
	}
	q := tokenstore.ConnectionQuery{User: user, After: req.Cursor, Limit: defaultListing}
	if req.Provider != "" {
		if q.Providers, err = s.providerNames("provider_id", req.Provider); err != nil {
			return api.UserEndReply{}, err
		}
	}
	c.Event.Kind, c.Event.UserID, c.Event.ProviderID = audit.UserEnded, user, req.Provider
	if req.Cursor == "" {
		err = s.Store.EndUser(ctx, user, q.Providers, s.Now().UTC())
	}
	reply := api.UserEndReply{User: user, Provider: req.Provider}
	if err == nil {
		err = s.endAll(ctx, c, q, &reply)
	}
	if err != nil {
		c.Event.Kind = "" // each connection that has ended has an event of its own
		return api.UserEndReply{}, err
	}
	return reply, nil
}

// endAll ends connections until there are no more, or for as long as one request
// may.
func (s *API) endAll(ctx context.Context, c *httpapi.Call, q tokenstore.ConnectionQuery, reply *api.UserEndReply) error {
	for begun := time.Now(); ; {
		page, err := s.connections(ctx, q)
		if err != nil {
			return err
		}
		for i := range page.Connections {
			end, err := s.endOne(ctx, c, &page.Connections[i])
			if err != nil {
				return err
			}
			if end.Was {
				reply.Ended++
			}
			if end.Upstream != tokenstore.UpstreamNone {
				if reply.AtProvider == nil {
					reply.AtProvider = map[string]int{}
				}
				reply.AtProvider[string(end.Upstream)]++
			}
		}
		if q.After = page.Next; q.After == "" || time.Since(begun) > endingTime {
			reply.Next = q.After
			return nil
		}
	}
}

// endOne ends one of a user's connections, which has an event of its own.
func (s *API) endOne(ctx context.Context, c *httpapi.Call, info *tokenstore.ConnectionInfo) (tokenstore.End, error) {
	end, err := s.Store.EndConnection(ctx, info.Tag, s.Now().UTC())
	if err == nil && end.Was {
		own := c.Event
		own.Kind, own.AgentID, own.ProviderID = audit.ConnectionEnded, info.Agent, info.Provider
		changes(&own, connectionBefore(ath.NewConnectionID(info.Tag).String(), info), nil)
		s.Record(ctx, own)
	}
	return end, err
}

package admin

import (
	"context"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/watch"
)

// listStreams shows the exchanges that this replica watches. Other replicas know
// theirs. Whose they are an operator who may know sees of the connection.
func (s *API) listStreams(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.StreamList, error) {
	agent, most := "", defaultListing
	for name, values := range c.Query {
		if len(values) > 1 {
			return api.StreamList{}, twice(name)
		}
		var err error
		switch name {
		case "agent":
			if agent, err = s.agentID(ctx, values[0]); agent == "" && err == nil {
				err = httpapi.InvalidField(name, "The parameter is empty.")
			}
		case "limit":
			most, err = limitOf(values[0])
		default:
			err = ath.Errorf(ath.InvalidRequest, "There is a parameter beside agent and limit.")
		}
		if err != nil {
			return api.StreamList{}, err
		}
	}
	l := api.StreamList{Replica: s.replica, Watched: s.Envoy != nil && s.Envoy.Streams == "watched", Streams: []api.Stream{}}
	if s.Streams != nil {
		var seen []watch.Seen
		seen, l.All = s.Streams(agent, most)
		for _, one := range seen {
			l.Streams = append(l.Streams, api.Stream{
				DecisionID: one.Decision, Agent: one.Agent, Provider: one.Provider, Scope: one.Scope,
				Connection: ath.NewConnectionID(one.Connection).String(), Since: instant(one.Since), Expires: instant(one.Until),
			})
		}
	}
	c.Quiet = true
	return l, nil
}

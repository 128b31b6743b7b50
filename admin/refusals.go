package admin

import (
	"context"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
)

// listRefusals shows what this replica refused lately: its calls and its steps
// of the handshake. Other replicas know theirs.
func (s *API) listRefusals(_ context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.RefusalList, error) {
	if err := noParameters(c); err != nil {
		return api.RefusalList{}, err
	}
	l := api.RefusalList{Replica: s.replica, Since: instant(s.Since), Refusals: []api.Refusal{}}
	for _, r := range s.Audit.Refusals() {
		l.Refusals = append(l.Refusals, api.Refusal{
			Time: instant(r.Time), DecisionID: r.DecisionID, Code: r.Code, Reason: r.Reason, Provider: r.ProviderID,
			Agent: r.AgentID, Method: r.Method, Path: pathFor(c.Operator, r.Path), Count: r.Count,
		})
	}
	c.Quiet = true
	return l, nil
}

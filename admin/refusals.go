package admin

import (
	"context"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
)

// listRefusals shows what this replica refused lately: its calls and its steps
// of the handshake. Other replicas know theirs.
func (s *API) listRefusals(_ context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.RefusalList, error) {
	if len(c.Query) > 0 {
		return api.RefusalList{}, ath.Errorf(ath.InvalidRequest, "This path takes no parameter.")
	}
	l := api.RefusalList{Replica: s.replica, Since: instant(s.since), Refusals: []api.Refusal{}}
	for _, r := range s.Audit.Refusals() {
		l.Refusals = append(l.Refusals, api.Refusal{
			Time: instant(r.Time), DecisionID: r.DecisionID, Code: r.Code, Reason: r.Reason, Provider: r.ProviderID,
			Agent: r.AgentID, Method: r.Method, Path: r.Path, Count: r.Count,
		})
	}
	c.Quiet = true
	return l, nil
}

package admin

import (
	"context"
	"errors"
	"time"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/httpapi"
)

// explainsTokens is the least role that may ask how a call with somebody's token
// would be judged. Calls without one are no secret to a viewer.
const explainsTokens = api.RoleApprover

// explain says how a call would be judged, step by step, by the code that
// judges calls. It leaves an event of its own, since whoever asks learns whose
// token it is.
func (s *API) explain(ctx context.Context, c *httpapi.Call, req *api.ExplainRequest) (*api.Explanation, error) {
	switch {
	case req.Method == "":
		return nil, httpapi.InvalidField("method", "A method is required.")
	case req.URL == "":
		return nil, httpapi.InvalidField("url", "A URL is required.")
	case !req.Token.IsZero() && !c.Operator.Role.Includes(explainsTokens):
		return nil, c.Operator.NeedsRole(explainsTokens) // it would hear whose token it is, and what that may do
	}
	e, err := s.Explain(ctx, authz.Question{Token: req.Token.Secret, AgentID: req.AgentID, Method: req.Method, URL: req.URL, Upgrade: req.Upgrade})
	if err != nil {
		return nil, err
	}
	c.Event.Kind, c.Event.DecisionID = audit.RequestExplained, e.DecisionID
	c.Event.AgentID, c.Event.UserID, c.Event.ProviderID = e.Agent, e.User, e.Provider
	if e.Verdict == api.WouldRefuse {
		c.Event.Reason = e.Reason
	}
	if !c.Operator.MaySeeUsers() {
		e.User = ""
	}
	return e, nil
}

// Explainer asks the decider, for [Config].Explain.
func Explainer(d *authz.Decider) func(context.Context, authz.Question) (*api.Explanation, error) {
	return func(ctx context.Context, q authz.Question) (*api.Explanation, error) {
		e, err := d.Explain(ctx, q)
		switch {
		case errors.Is(err, authz.ErrNoMethod):
			return nil, httpapi.InvalidField("method", "A method is required.")
		case errors.Is(err, authz.ErrNoURL):
			return nil, httpapi.InvalidField("url", "url must be an http or https URL, or a path that starts with a slash.")
		case err != nil:
			return nil, err
		}
		return explanationOf(&e), nil
	}
}

func explanationOf(e *authz.Explanation) *api.Explanation {
	d := &e.Decision
	out := &api.Explanation{
		DecisionID: d.ID, Time: time.Now().UTC().Truncate(time.Second), Verdict: api.WouldAllow,
		Reason: string(d.Reason()), Place: e.Place, Provider: d.Provider, Agent: d.Agent, User: d.User,
		Scopes: httpapi.List(d.Scopes), Scope: d.Scope, Steps: []api.ExplainStep{}, Nearest: []api.NearMiss{},
	}
	if refusal := d.Refusal(); refusal != nil {
		out.Verdict = api.WouldRefuse
		out.Status, out.Code, out.Message = refusal.Status(), refusal.Code, refusal.Message
	} else if d.PassesThrough() {
		out.Verdict = api.WouldPass
	}
	for _, step := range e.Steps {
		out.Steps = append(out.Steps, api.ExplainStep{Rule: step.Rule, Found: step.Found, Verdict: string(step.Verdict)})
	}
	for _, n := range e.Nearest {
		out.Nearest = append(out.Nearest, api.NearMiss{
			Scope: n.Rule.Scope, Methods: n.Rule.Methods, Paths: n.Rule.Paths, Upgrade: n.Rule.Upgrade, Held: n.Held, Method: n.Method, Path: n.Path,
		})
	}
	return out
}

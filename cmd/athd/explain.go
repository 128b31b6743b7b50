package main

import (
	"context"
	"errors"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/authz"
)

// explainer lets operators ask the decider, which the handshake does not know.
func explainer(d *authz.Decider) func(context.Context, athflow.ExplainRequest) (*athflow.Explanation, error) {
	return func(ctx context.Context, r athflow.ExplainRequest) (*athflow.Explanation, error) {
		e, err := d.Explain(ctx, authz.Question{Token: r.Token, AgentID: r.AgentID, Method: r.Method, URL: r.URL, Upgrade: r.Upgrade})
		switch {
		case errors.Is(err, authz.ErrNoMethod):
			return nil, ath.Errorf(ath.InvalidRequest, "A method is required.").WithDetail("field", "method")
		case errors.Is(err, authz.ErrNoURL):
			return nil, ath.Errorf(ath.InvalidRequest, "url must be an http or https URL, or a path that starts with a slash.").WithDetail("field", "url")
		case err != nil:
			return nil, err
		}
		return explained(&e), nil
	}
}

func explained(e *authz.Explanation) *athflow.Explanation {
	d := &e.Decision
	out := &athflow.Explanation{
		DecisionID: d.ID, Time: time.Now().UTC().Truncate(time.Second), Verdict: athflow.WouldAllow,
		Reason: string(d.Reason()), Place: e.Place, Provider: d.Provider, Agent: d.Agent, User: d.User,
		Scopes: []string{}, Scope: d.Scope, Steps: []athflow.ExplainStep{}, Nearest: []athflow.NearRule{},
	}
	if refusal := d.Refusal(); refusal != nil {
		out.Verdict = athflow.WouldRefuse
		out.Status, out.Code, out.Message = refusal.Status(), refusal.Code, refusal.Message
	} else if d.PassesThrough() {
		out.Verdict = athflow.WouldPass
	}
	out.Scopes = append(out.Scopes, d.Scopes...)
	for _, s := range e.Steps {
		out.Steps = append(out.Steps, athflow.ExplainStep{Rule: s.Rule, Found: s.Found, Verdict: string(s.Verdict)})
	}
	for _, n := range e.Nearest {
		out.Nearest = append(out.Nearest, athflow.NearRule{
			Scope: n.Rule.Scope, Methods: n.Rule.Methods, Paths: n.Rule.Paths, Upgrade: n.Rule.Upgrade, Held: n.Held, Method: n.Method, Path: n.Path,
		})
	}
	return out
}

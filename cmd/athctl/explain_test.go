package main

import (
	"context"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/authz"
)

// explain stands for the decider, which test/e2e/walk asks in its place: here it
// is about what athctl sends and shows.
func explain(_ context.Context, r authz.Question) (*api.Explanation, error) {
	agent := r.AgentID
	if agent == "" {
		agent = "https://shop.example/agent.json"
	}
	e := &api.Explanation{
		DecisionID: "dec_1", Verdict: api.WouldAllow, Reason: "allowed", Scope: "pictures:read", Agent: agent, User: "user-1", Provider: "gallery",
		Place: "provider gallery, mounted at /ath/proxy/gallery/",
		Steps: []api.ExplainStep{{Rule: "P-7 method", Found: `"` + r.Method + `"`, Verdict: "ok"}, {Rule: "P-4 scope", Found: "agent " + agent, Verdict: "ok"}},
	}
	switch {
	case !strings.HasPrefix(r.URL, "http") && r.URL[0] != '/':
		return nil, ath.Errorf(ath.InvalidRequest, "url must be a URL.").WithDetail("field", "url")
	case r.URL == "/hostile":
		e.Steps[0].Found = "\x1b[2J"
	case r.Token.IsZero():
		e.DecisionID, e.Verdict, e.Reason = "dec_3", api.WouldPass, "passed_through"
		e.Steps = []api.ExplainStep{{Rule: "people without a token", Found: "the app is open to people", Verdict: "passes"}}
	case r.Method == "DELETE":
		e.DecisionID, e.Verdict, e.Reason, e.Scope = "dec_2", api.WouldRefuse, "scope_missing", ""
		e.Status, e.Code, e.Message = 403, ath.ScopeNotApproved, "No scope of the ATH token covers this method and path."
		e.Steps[1] = api.ExplainStep{Rule: "P-4 scope", Found: "none of pictures:read covers it", Verdict: "refuses"}
		e.Steps = append(e.Steps, api.ExplainStep{Rule: "P-6 credential there", Verdict: "not asked"})
		e.Nearest = []api.NearMiss{
			{Scope: "pictures:write", Methods: []string{"POST", "DELETE"}, Paths: []string{"/pictures/*"}, Method: true, Path: true},
			{Scope: "pictures:read", Methods: []string{"GET"}, Paths: []string{"/pictures/**"}, Held: true, Path: true},
		}
	}
	return e, nil
}

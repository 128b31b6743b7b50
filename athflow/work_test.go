package athflow

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// S-1: whatever a registration asks for, an agent's id and developer are
// matched once for each pattern, and a scope once for each rule.
func TestWorkOnScopesIsLinear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // without a clock of the machine
		offered := make(ath.Scopes, 200)
		for i := range offered {
			offered[i] = fmt.Sprintf("scope:%03d", i)
		}
		set, err := provider.NewSet(&provider.Provider{ID: "p", Scopes: offered})
		if err != nil {
			t.Fatal(err)
		}
		pattern := func(s string) []approval.Glob {
			g, err := approval.ParseGlob(s)
			if err != nil {
				t.Fatal(err)
			}
			return []approval.Glob{g}
		}
		policy := approval.Policy{Default: approval.Deny}
		for i := range 50 {
			policy.Rules = append(policy.Rules, approval.Rule{Agents: pattern(fmt.Sprintf("https://*%d.example/**x**y**z", i)), Action: approval.Approve})
		}
		policy.Rules = append(policy.Rules, approval.Rule{Scopes: pattern("scope:1*"), Action: approval.Approve}, approval.Rule{Scopes: pattern("scope:0*"), Action: approval.Review})
		agent, err := ath.ParseAgentID("https://agent.example/"+strings.Repeat("x", 1900), false)
		if err != nil {
			t.Fatal(err)
		}
		f := &Flow{Config: Config{Server: &httpapi.Server{Config: httpapi.Config{Now: time.Now}}, Policy: policy, Providers: provider.NewProviders(set)}}
		left := f.Policy.About(agent, "d").At([]string{"p"})
		if len(left.Rules) != 2 {
			t.Fatalf("%d rules are asked about each scope, want those 2 that apply to the agent", len(left.Rules))
		}
		next := tokenstore.Agent{ID: agent.String()}
		v, err := f.judgeAll(&next, &api.RegisterRequest{Providers: []api.RequestedProvider{{ID: "p", Scopes: offered}}}, agent, tokenstore.Developer{ID: "d"}, false)
		if err != nil || !v.changed {
			t.Fatal(err, v)
		}
		a := next.Approvals[0]
		if len(a.Approved) != 100 || len(a.Pending) != 100 || len(a.Denied) != 0 {
			t.Errorf("%d approved, %d under review, %d denied", len(a.Approved), len(a.Pending), len(a.Denied))
		}
	})
}

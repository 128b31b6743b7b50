package authz

import (
	"fmt"
	"testing"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

func glob(t testing.TB, text string) []approval.Glob {
	t.Helper()
	g, err := approval.ParseGlob(text)
	if err != nil {
		t.Fatal(err)
	}
	return []approval.Glob{g}
}

func host(t testing.TB, text string) []ath.HostPattern {
	t.Helper()
	p, err := ath.ParseHostPattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return []ath.HostPattern{p}
}

// What an agent was approved for is over when a rule denies it; what a rule leaves to
// an operator, or to the default, was decided when it registered.
// proves: P-4
func TestARuleThatDeniesHoldsAtTheNextDecision(t *testing.T) {
	all := glob(t, "*")
	for _, c := range []struct {
		name string
		p    approval.Policy
		want Reason
	}{
		{"no rule", approval.Policy{Default: approval.Approve}, Allowed},
		{"a default that denies", approval.Policy{Default: approval.Deny}, Allowed},
		{"a rule that reviews", approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Agents: all, Action: approval.Review}}}, Allowed},
		{"a rule about another agent", approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Agents: glob(t, otherAgent), Action: approval.Deny}}}, Allowed},
		{"about another provider", approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Providers: glob(t, "else"), Action: approval.Deny}}}, Allowed},
		{"about another scope", approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Scopes: glob(t, "orders:*"), Action: approval.Deny}}}, Allowed},
		{"behind one that approves", approval.Policy{Default: approval.Deny, Rules: []approval.Rule{{Agents: all, Action: approval.Approve}, {Agents: all, Action: approval.Deny}}}, Allowed},
		{"about the agent", approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Agents: glob(t, agentID), Action: approval.Deny}}}, ScopeDenied},
		{"about its host", approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Hosts: host(t, ath.RequestedHostOf(agentID).String()), Action: approval.Deny}}}, ScopeDenied},
		{"about its provider", approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Providers: glob(t, "shop"), Action: approval.Deny}}}, ScopeDenied},
		{"about the scope", approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Scopes: glob(t, "products:*"), Action: approval.Deny}}}, ScopeDenied},
		{"about its developer", approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Developers: glob(t, "bad"), Action: approval.Deny}}}, ScopeDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, r := good()
			s.agents[agentID].Developer.ID = "bad"
			d := newDecider(t, s, new(recorder))
			if decision := d.Decide(t.Context(), r); decision.Reason() != Allowed {
				t.Fatal(decision.Reason())
			}
			for range 2 { // judged, and then remembered
				if err := d.UsePolicy(c.p); err != nil {
					t.Fatal(err)
				}
				if decision := d.Decide(t.Context(), r); decision.Reason() != c.want {
					t.Errorf("%s, want %s", decision.Reason(), c.want)
				}
			}
			d.config.Providers.Replace(d.config.Providers.Current()) // another set has the same policy
			if decision := d.Decide(t.Context(), r); decision.Reason() != c.want {
				t.Errorf("with other providers: %s, want %s", decision.Reason(), c.want)
			}
			if err := d.UsePolicy(approval.Policy{Default: approval.Approve}); err != nil {
				t.Fatal(err)
			}
			if decision := d.Decide(t.Context(), r); decision.Reason() != Allowed {
				t.Errorf("without the rule: %s", decision.Reason())
			}
		})
	}
}

// A scope that is denied is in no hint either: nobody is sent to ask for it.
func TestWhatIsDeniedLeavesTheRest(t *testing.T) {
	s, r := good()
	s.grant.Scopes = ath.Scopes{"products:read", "orders:write"}
	d := newDecider(t, s, new(recorder))
	if err := d.UsePolicy(approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Scopes: glob(t, "orders:*"), Action: approval.Deny}}}); err != nil {
		t.Fatal(err)
	}
	decision := d.Decide(t.Context(), r)
	if decision.Reason() != Allowed || len(decision.Scopes) != 1 || decision.Scopes[0] != "products:read" {
		t.Errorf("%s with %v", decision.Reason(), decision.Scopes)
	}
	if err := d.UsePolicy(approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Scopes: glob(t, "products:*"), Action: approval.Deny}}}); err != nil {
		t.Fatal(err)
	}
	if decision = d.Decide(t.Context(), r); decision.Reason() != ScopeDenied || decision.hint != nil {
		t.Errorf("%s, with the hint %+v", decision.Reason(), decision.hint)
	}
}

// Agents choose their ids, and how many there are.
func TestVerdictsAreBounded(t *testing.T) {

	d := newDenials(approval.Policy{Default: approval.Approve, Rules: []approval.Rule{{Agents: glob(t, "https://a7.example/**"), Action: approval.Deny}}})
	p := &provider.Provider{ID: "shop", Scopes: ath.Scopes{"a"}}
	for i := range maxVerdicts + 100 {
		a := approvedAgent(fmt.Sprintf("https://a%d.example/x", i))
		if denied := d.denied(a, p, p.Scopes); (len(denied) > 0) != (i == 7) {
			t.Fatalf("%s: %v", a.ID, denied)
		}
	}
	if len(d.known) != maxVerdicts {
		t.Errorf("%d are remembered", len(d.known))
	}
	if len(d.denied(approvedAgent("https://a7.example/x"), p, ath.Scopes{"a", "gone"})) != 2 || len(d.denied(approvedAgent("no url"), p, p.Scopes)) != 1 {
		t.Error("what is not known any more is judged otherwise")
	}
}

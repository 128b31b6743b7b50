package authz

import (
	"sync"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// maxVerdicts bounds how many agents are remembered, each at one provider.
const maxVerdicts = 1 << 14

// denials are what rules of the operator's policy deny to agents that are registered.
// Matching patterns is dear, and an agent calls often: what was found is remembered
// as long as the policy stays. It is safe for concurrent use. A nil one denies nothing.
type denials struct {
	policy approval.Policy

	mu    sync.RWMutex
	known map[verdictOf]*verdict
}

// verdictOf is whose verdict it is. The provider is one of a set, which has the names
// by which rules know it.
type verdictOf struct {
	agent, developer string
	provider         *provider.Provider
}

// A verdict is what of a provider's scopes is denied to an agent.
type verdict struct {
	policy *approval.Policy // nil: nothing can be
	denied ath.Scopes       // of the provider's own
}

// newDenials returns nil where no rule denies.
func newDenials(p approval.Policy) *denials {
	if !p.MayDeny() {
		return nil
	}
	return &denials{policy: p, known: map[verdictOf]*verdict{}}
}

// denied are those of the scopes that a rule denies to the agent now.
func (d *denials) denied(a *tokenstore.Agent, p *provider.Provider, scopes ath.Scopes) ath.Scopes {
	if d == nil {
		return nil
	}
	of := verdictOf{a.ID, a.Developer.ID, p}
	d.mu.RLock()
	v := d.known[of]
	d.mu.RUnlock()
	if v == nil {
		v = d.judge(of)
		d.remember(of, v)
	}
	if v.policy == nil {
		return nil
	}
	var out ath.Scopes
	for _, s := range scopes {
		if v.denied.Has(s) || !p.Scopes.Has(s) && len(v.policy.Denied(ath.Scopes{s})) > 0 {
			out = append(out, s)
		}
	}
	return out
}

func (d *denials) judge(of verdictOf) *verdict {
	id, err := ath.ParseAgentID(of.agent, true)
	if err != nil { // it is registered: nobody knows what the rules mean for it
		return &verdict{policy: &approval.Policy{Default: approval.Deny}, denied: of.provider.Scopes}
	}
	policy := d.policy.Denies(id, of.developer, of.provider.Names())
	return &verdict{policy: policy, denied: policy.Denied(of.provider.Scopes)}
}

// remember keeps a verdict in the place of any other one where there are too many.
func (d *denials) remember(of verdictOf, v *verdict) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for other := range d.known {
		if len(d.known) < maxVerdicts {
			break
		}
		delete(d.known, other)
	}
	d.known[of] = v
}

// UsePolicy has decisions from now on follow the rules of another policy that deny.
// All that approves or leaves to an operator is about registrations, and not asked here.
func (d *Decider) UsePolicy(p approval.Policy) error {
	if err := p.Check(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := *d.snapshot.Load()
	next.denials = newDenials(p)
	d.snapshot.Store(&next)
	return nil
}

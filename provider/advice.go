package provider

import (
	"fmt"
	"strings"
)

// RuleAdvice tells what a provider's scopes open where nobody wrote it down, and
// which open nothing.
func (p *Provider) RuleAdvice() []string {
	covered := map[string]bool{}
	var derived, bare, all []string
	for _, r := range p.Rules {
		covered[r.Scope] = true
		derived = append(derived, fmt.Sprintf("%s: %s %s", r.Scope, strings.Join(r.Methods, ","), strings.Join(r.Paths, ",")))
	}
	for _, scope := range p.Scopes {
		if !covered[scope] {
			bare = append(bare, scope)
		}
	}
	if p.Derived && len(derived) > 0 {
		all = append(all, "no scope_rules; derived from the scopes' names: "+strings.Join(derived, "; "))
	}
	if len(bare) > 0 {
		all = append(all, "no request is covered by "+strings.Join(bare, ", ")+": write scope_rules")
	}
	return all
}

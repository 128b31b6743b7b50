package provider

import (
	"fmt"
	"slices"
)

// checkRules warns of redundant rules in the file, and refuses derived rules with
// strict_scopes.
func (c *check) checkRules(p *Provider) {
	switch {
	case p.Derived && c.opt.StrictScopes:
		c.fail("scope_rules", fmt.Sprintf("are missing, and strict_scopes is on: write what each scope of provider %s opens, such as %s", p.ID, exampleRule(p)))
	case c.Doc.Has(c.full("scope_rules")...) && len(c.Faults) == 0:
		for i := range p.Rules {
			if j := redundantRule(p.Rules, i); j >= 0 {
				c.warn("scope_rules", fmt.Sprintf("is redundant: scope_rules[%d] allows all of it for the same scope", j), i)
				continue
			}
			for k := range p.Rules[i].patterns {
				if j := p.Rules[i].redundantPath(k); j >= 0 {
					c.warn("scope_rules", fmt.Sprintf("is redundant: paths[%d] matches all of it", j), i, "paths", k)
				}
			}
		}
	}
}

// exampleRule is a rule that could be written in place of a derived one.
func exampleRule(p *Provider) string {
	scope, method, path := "read", "GET", "/some/path"
	if len(p.Scopes) > 0 {
		scope = p.Scopes[0]
	}
	if len(p.Rules) > 0 {
		r := p.Rules[0]
		scope, method, path = r.Scope, r.Methods[0], r.Paths[0]
		if r.anywhere != "" {
			path = "/" + r.anywhere + "/**"
		}
	}
	return fmt.Sprintf(`{"scope": %q, "methods": [%q], "paths": [%q]}`, scope, method, path)
}

// Rules only allow: their order has no meaning, and a rule that allows no more
// than another one is redundant. It was probably meant otherwise: for another
// scope, or to restrict the other rule.

// redundantRule returns a rule that allows, for the same scope, all that rule i
// allows; -1 if there is none. Of two equal rules the first is not redundant.
func redundantRule(rules []Rule, i int) int {
	for j := range rules {
		if j != i && rules[j].covers(&rules[i]) && (j < i || !rules[i].covers(&rules[j])) {
			return j
		}
	}
	return -1
}

// redundantPath returns a path of the rule that matches all that its path i
// matches; -1 if there is none. Of two equal paths the first is not redundant.
func (r *Rule) redundantPath(i int) int {
	for j := range r.patterns {
		if j != i && r.patterns[j].covers(r.patterns[i]) && (j < i || !r.patterns[i].covers(r.patterns[j])) {
			return j
		}
	}
	return -1
}

// covers reports whether this rule allows each request that the other one allows.
// It is false for derived rules.
func (r *Rule) covers(other *Rule) bool {
	if r.Scope != other.Scope || len(other.patterns) == 0 || other.anywhere != "" {
		return false
	}
	for _, protocol := range other.Upgrade {
		if !slices.Contains(r.Upgrade, protocol) {
			return false
		}
	}
	for _, m := range other.Methods {
		if !r.coversMethod(m) {
			return false
		}
	}
	for _, p := range other.patterns {
		if !slices.ContainsFunc(r.patterns, func(wide pattern) bool { return wide.covers(p) }) {
			return false
		}
	}
	return true
}

// covers reports whether each path that the other pattern matches is matched
// by this one.
func (p pattern) covers(other pattern) bool {
	if len(other.segments) < len(p.segments) || !p.rest && (other.rest || len(other.segments) > len(p.segments)) {
		return false
	}
	for i, want := range p.segments {
		if want != "*" && want != other.segments[i] {
			return false
		}
	}
	return true
}

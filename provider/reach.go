package provider

import (
	"fmt"
	"slices"
)

// judgeRules warns of what the file's own rules open twice, and refuses
// derived rules where all must be written down.
func (c *check) judgeRules(p *Provider) {
	switch {
	case p.Derived && c.opt.StrictScopes:
		c.fail("scope_rules", fmt.Sprintf("are missing, and strict_scopes is on: write what each scope of provider %s opens, such as %s", p.ID, exampleRule(p)))
	case c.Doc.Has(c.full("scope_rules")...) && len(c.Faults) == 0:
		for i := range p.Rules {
			if j := idleRule(p.Rules, i); j >= 0 {
				c.warn("scope_rules", fmt.Sprintf("no request needs this rule: scope_rules[%d] opens all of it for the same scope", j), i)
				continue
			}
			for k := range p.Rules[i].patterns {
				if j := p.Rules[i].idlePath(k); j >= 0 {
					c.warn("scope_rules", fmt.Sprintf("no request needs this path: paths[%d] matches all of it", j), i, "paths", k)
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

// Rules only ever open something: their order says nothing, and one that opens
// no more than another one does is idle. Whoever wrote it meant something
// else, such as another scope, or to keep the other one narrow.

// idleRule returns a rule that opens, for the same scope, all that rule i
// opens; -1 if there is none. Of two that open the same the first is not idle.
func idleRule(rules []Rule, i int) int {
	for j := range rules {
		if j != i && rules[j].covers(&rules[i]) && (j < i || !rules[i].covers(&rules[j])) {
			return j
		}
	}
	return -1
}

// idlePath returns a path of the rule that matches all that its path i
// matches; -1 if there is none. Of two that match the same the first is not
// idle.
func (r *Rule) idlePath(i int) int {
	for j := range r.patterns {
		if j != i && r.patterns[j].covers(r.patterns[i]) && (j < i || !r.patterns[i].covers(r.patterns[j])) {
			return j
		}
	}
	return -1
}

// covers reports whether each request that the other rule opens is opened by
// this one. Of derived rules it says no.
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

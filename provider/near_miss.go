package provider

import (
	"cmp"
	"slices"

	"github.com/athd/athd/ath"
)

// A NearMiss is a rule that did not cover a request, and which of its conditions
// the request meets.
type NearMiss struct {
	Rule   Rule
	Held   bool // the token has the rule's scope
	Method bool // the rule covers the method
	Path   bool // the rule covers the path
}

// NearMisses returns the rules, at most n, that come nearest to covering a request
// that no held scope covers: first those that only need another scope, then those
// that only need another method, then by how many segments of the path match. The
// path has the form that [Provider.Permits] takes. It is for people to read.
func (p *Provider) NearMisses(method string, path []string, held ath.Scopes, n int) []NearMiss {
	type scored struct {
		NearMiss
		score int
	}
	var all []scored
	for i := range p.Rules {
		r := &p.Rules[i]
		near := NearMiss{Rule: *r, Held: held.Has(r.Scope), Method: r.coversMethod(method), Path: r.coversPath(path)}
		s := scored{near, r.common(path)}
		if near.Path {
			s.score += 1000
		}
		if near.Method {
			s.score += 500
		}
		if near.Held {
			s.score += 250
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	var out []NearMiss
	for _, s := range all[:min(n, len(all))] {
		out = append(out, s.NearMiss)
	}
	return out
}

// common counts the first segments that a path shares with the rule.
func (r *Rule) common(path []string) int {
	most := 0
	for _, p := range r.patterns {
		n := 0
		for n < len(p.segments) && n < len(path) && (p.segments[n] == path[n] || p.segments[n] == "*") {
			n++
		}
		most = max(most, n)
	}
	return most
}

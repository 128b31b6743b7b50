package provider

import (
	"cmp"
	"slices"

	"github.com/athd/athd/ath"
)

// Covering returns the scopes of which each alone covers the request: first
// those whose rule says most closely what it is, so that an agent asks for no
// more than it needs. With upgrade, the request asks to switch to WebSocket. The
// path is cut as [Provider.Permits] wants it.
func (p *Provider) Covering(method string, path []string, upgrade bool) ath.Scopes {
	if p == nil {
		return nil
	}
	type candidate struct {
		scope             string
		literals, methods int
		open              bool // the rule ends with **, or is derived
	}
	var all []candidate
	for i := range p.Rules {
		r := &p.Rules[i]
		if !r.matches(method, path) || upgrade && !slices.Contains(r.Upgrade, WebSocket) || !p.Scopes.Has(r.Scope) {
			continue
		}
		literals, open := r.closeness(path)
		all = append(all, candidate{r.Scope, literals, len(r.Methods), open})
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.literals, a.literals), compareBool(a.open, b.open), cmp.Compare(a.methods, b.methods))
	})
	var out ath.Scopes
	for _, c := range all {
		if !out.Has(c.scope) {
			out = append(out, c.scope)
		}
	}
	return out
}

// closeness is how many segments of the path the rule spells out, by the best
// of its patterns, and whether that one leaves the rest open.
func (r *Rule) closeness(path []string) (literals int, open bool) {
	literals, open = -1, true
	for _, p := range r.patterns {
		if !p.matches(path) {
			continue
		}
		n := 0
		for _, s := range p.segments {
			if s != "*" {
				n++
			}
		}
		if n > literals || n == literals && open && !p.rest {
			literals, open = n, p.rest
		}
	}
	return max(literals, 0), open
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

package verify

import (
	"slices"

	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/envoy"
)

// A filter is one of a chain.
type filter struct {
	name     string
	kind     string // of its configuration: the full name of the message
	config   *anypb.Any
	optional bool
	disabled bool // but for routes with a setting for it
}

// A chain is the HTTP filters that a request passes, in their order.
type chain struct {
	*manager
	where   string
	filters []filter
	checks  []int // where filters are that ask for a decision; Envoy Gateway has one for each policy
	checkAt int   // of the one that is looked at now; -1: none
	// What that one is configured with: one of these, and of the other kind nothing.
	check *extauthzv3.ExtAuthz
	judge *extprocv3.ExternalProcessor
	leads bool // one of its routes leaves it to athd's reply where a request goes
}

func (m *manager) newChain(where string, filters []*hcmv3.HttpFilter) *chain {
	return &chain{manager: m, where: where, checkAt: -1, filters: m.filtersOf(filters)}
}

// filtersOf reads the filters of a chain.
func (v *verifier) filtersOf(list []*hcmv3.HttpFilter) []filter {
	var out []filter
	for _, f := range list {
		config := f.GetTypedConfig()
		if d := f.GetConfigDiscovery(); d != nil {
			if config = v.extensions[f.GetName()]; config == nil {
				config = d.GetDefaultConfig()
			}
		}
		out = append(out, filter{f.GetName(), kindOf(config), config, f.GetIsOptional(), f.GetDisabled()})
	}
	return out
}

// runs reports whether a filter runs on a target: the most specific setting
// decides, and any setting wakes a filter that sleeps by default.
func (f filter) runs(w *target) bool {
	if s := w.settings(f.name); len(s) > 0 {
		return !s[0].disabled
	}
	return !f.disabled
}

// verifyChain verifies the chain, and each target to a provider through it.
func (c *chain) verifyChain(targets []*target) {
	var guards []int
	for i, f := range c.filters {
		switch {
		case f.config == nil:
			c.fault(c.at(f), "its configuration cannot be read", "look at it by hand: this filter was not verified")
		case open(f.config, &extauthzv3.ExtAuthz{}), c.judges(f):
			c.checks = append(c.checks, i)
		case open(f.config, &guardv3.RBAC{}):
			guards = append(guards, i)
		}
	}
	if len(c.checks) == 0 {
		c.fault(c.where, c.wanted()+" is missing: athd is not asked", "put the "+c.wanted()+" filter before the router")
		for _, w := range targets {
			switch {
			case w.runtime:
				c.verifyRuntimeUpstream(w)
			case len(w.providers) > 0:
				c.verifyUpstream(w)
			}
		}
		return
	}
	checked := map[int][]*target{}
	for _, w := range targets {
		at, several := c.checkOf(w)
		if several {
			c.fault(c.where, "there are two "+c.kindsOfChecks()+" filters: the second one's answer writes over what athd's said",
				"leave athd's only")
		}
		checked[at] = append(checked[at], w)
	}
	for _, at := range c.checks {
		if len(checked[at]) > 0 {
			c.verifyAt(at, checked[at], guards)
		}
	}
}

// checkOf returns the filter that asks for a decision on a target, or the first where
// none does, and whether several do.
func (c *chain) checkOf(w *target) (at int, several bool) {
	at = -1
	for _, i := range c.checks {
		switch {
		case !c.filters[i].runs(w):
		case at >= 0:
			return at, true
		default:
			at = i
		}
	}
	if at < 0 {
		at = c.checks[0]
	}
	return at, false
}

// verifyAt verifies one filter that asks for a decision, and the targets that it is for.
func (c *chain) verifyAt(at int, targets []*target, guards []int) {
	c.checkAt, c.check, c.judge = at, &extauthzv3.ExtAuthz{}, nil
	if !open(c.filters[at].config, c.check) {
		c.check, c.judge = nil, &extprocv3.ExternalProcessor{}
		open(c.filters[at].config, c.judge)
	}
	c.leads = slices.ContainsFunc(targets, func(w *target) bool { return w.runtime })
	c.verifyCheck()
	c.verifyOrder()
	c.verifyTrailers()
	c.verifyRouter()
	guarded := c.verifyGuard(guards)
	c.verifyHeard(guards)
	for _, w := range targets {
		if w.forwards() {
			c.verifySettings(w)
		}
		if w.runtime || len(w.providers) > 0 {
			c.verifyHeardOn(w)
		}
		if w.runtime {
			c.verifyRuntimeTarget(w, guards, guarded)
			continue
		}
		c.verifyNotRuntime(w)
		if len(w.providers) > 0 {
			c.verifyTarget(w, guards, guarded)
		}
	}
}

func (c *chain) at(f filter) string { return c.where + " / filter " + envoy.Quote(f.name) }

// verifyGuard reports whether there is a guard behind the check at all.
func (c *chain) verifyGuard(guards []int) bool {
	behind := slices.IndexFunc(guards, func(i int) bool { return i > c.checkAt }) >= 0
	switch {
	case behind:
	case len(guards) > 0 && c.assured(guards, nil).allow:
		c.fault(c.where, "the guard stands before "+c.asks()+", where there is nothing to guard by: it refuses everything, or nothing",
			"move the rbac filter directly behind "+c.asks())
	default:
		c.verifyUnguarded()
	}
	return behind
}

// assured is what the guards promise of requests on a target, or, without one,
// by their own configuration.
func (c *chain) assured(guards []int, w *target) assurance {
	out := assurance{}
	for _, i := range guards {
		f := c.filters[i]
		var g guardv3.RBAC
		open(f.config, &g)
		rules := g.GetRules()
		if w != nil {
			if !f.runs(w) {
				continue
			}
			if s := w.settings(f.name); len(s) > 0 {
				var per guardv3.RBACPerRoute
				if s[0].config != nil && open(s[0].config, &per) {
					rules = per.GetRbac().GetRules()
				}
			}
		}
		if rules != nil {
			out = out.both(assures(rules))
		}
	}
	return out
}

// shadowed reports whether rules of a guard are only tried, not kept.
func (c *chain) shadowed(guards []int, w *target) bool {
	for _, i := range guards {
		var g guardv3.RBAC
		open(c.filters[i].config, &g)
		if s := w.settings(c.filters[i].name); len(s) > 0 {
			var per guardv3.RBACPerRoute
			if open(s[0].config, &per) {
				g.Rules, g.ShadowRules, g.ShadowMatcher = per.GetRbac().GetRules(), per.GetRbac().GetShadowRules(), per.GetRbac().GetShadowMatcher()
			}
		}
		if g.GetRules() == nil && (g.GetShadowRules() != nil || g.GetShadowMatcher() != nil) {
			return true
		}
	}
	return false
}

// verifySettings reports settings that no filter reads: Envoy ignores them
// silently.
func (c *chain) verifySettings(w *target) {
	for _, name := range w.filters() {
		named := func(f filter) bool { return f.name == name }
		if slices.ContainsFunc(c.filters, named) || slices.ContainsFunc(c.upstreamFilters(c.clusters[w.cluster]), named) {
			continue
		}
		s := w.settings(name)[0]
		what := "it has settings for the filter " + envoy.Quote(name) + ", which is not in the chain: they are ignored"
		remedy := "write them under the name of the filter in the chain"
		if open(s.config, &extauthzv3.ExtAuthzPerRoute{}) || open(s.config, &extprocv3.ExtProcPerRoute{}) || open(s.config, &guardv3.RBACPerRoute{}) || open(s.config, &headersv3.HeaderMutationPerRoute{}) {
			c.fault(w.where, what, remedy)
		} else if !s.optional {
			c.warning(w.where, what, remedy)
		}
	}
}

// verifyRouter looks at the end of the chain.
func (c *chain) verifyRouter() {
	for _, f := range c.filters {
		var r routerv3.Router
		if !open(f.config, &r) {
			continue
		}
		if !r.GetSuppressEnvoyHeaders() && !c.expect.ByHost {
			c.warning(c.at(f), "APIs see headers of Envoy's, such as the path before it was rewritten", "set suppress_envoy_headers: true")
		}
		for _, up := range r.GetUpstreamHttpFilters() {
			c.verifyUpstreamFilter(c.at(f), up)
		}
	}
}

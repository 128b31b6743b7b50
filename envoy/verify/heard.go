package verify

import (
	"slices"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/athd/athd/envoy"
)

// An inner filter is one that another filter makes for what a predicate holds of.
type inner struct {
	name   string
	config *anypb.Any
	when   *xdsmatcherv3.Matcher_MatcherList_Predicate // nil: always
}

// innerOf returns the filters that a composite filter, or one that matches, chooses
// among; ok if the filter is one of these, and does no more than that.
func innerOf(config *anypb.Any) (out []inner, ok bool) {
	var composite compositev3.Composite
	if open(config, &composite) {
		if composite.GetMatcher().GetMatcherTree() != nil || composite.GetMatcher().GetOnNoMatch() != nil || len(composite.GetNamedFilterChains()) > 0 {
			return nil, false
		}
		for _, one := range composite.GetMatcher().GetMatcherList().GetMatchers() {
			var action compositev3.ExecuteFilterAction
			if !open(one.GetOnMatch().GetAction().GetTypedConfig(), &action) || action.GetTypedConfig() == nil || action.GetSamplePercent() != nil {
				return nil, false
			}
			out = append(out, inner{action.GetTypedConfig().GetName(), action.GetTypedConfig().GetTypedConfig(), one.GetPredicate()})
		}
		return out, len(out) > 0
	}
	var matched matchingv3.ExtensionWithMatcher
	if open(config, &matched) {
		return []inner{{matched.GetExtensionConfig().GetName(), matched.GetExtensionConfig().GetTypedConfig(), unreadable}}, true
	}
	return nil, false
}

// unreadable is a predicate of which nobody can say what it holds of.
var unreadable = &xdsmatcherv3.Matcher_MatcherList_Predicate{}

// heard is an ext_proc filter by which athd hears of exchanges behind its decision.
type heard struct {
	inner
	*extprocv3.ExternalProcessor
	roles []string
	at    int // of the filter in the chain that makes it
}

func (h heard) is(role string) bool { return slices.Contains(h.roles, role) }

// heardIn returns the ext_proc filters of athd's that a filter is, or makes; only if
// it makes no other.
func heardIn(config *anypb.Any, at int) (all []heard, only bool) {
	list, wrapped := innerOf(config)
	if !wrapped {
		list = []inner{{config: config}}
	}
	only = true
	for _, one := range list {
		p := &extprocv3.ExternalProcessor{}
		if !open(one.config, p) || len(rolesOf(p)) == 0 || slices.Contains(rolesOf(p), envoy.RoleJudge) {
			only = false
			continue
		}
		all = append(all, heard{one, p, rolesOf(p), at})
	}
	return all, only
}

// heard are all of those in the chain.
func (c *chain) heard() []heard {
	var out []heard
	for i, f := range c.filters {
		if !slices.Contains(c.checks, i) {
			all, _ := heardIn(f.config, i)
			out = append(out, all...)
		}
	}
	return out
}

package verify

import (
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/athd/athd/envoy"
)

// effectivePolicy ends the key under which an RBAC filter writes which of its
// shadow rules matched.
const effectivePolicy = "shadow_effective_policy_id"

// marksEveryRequest reports whether every request gets the mark that
// filter_enabled_metadata wants. Istio tells so what a policy with action
// CUSTOM is for: the shadow rules of an RBAC filter before ext_authz match, and
// the name of the rule that did is the mark.
func (c *chain) marksEveryRequest(m *matcherv3.MetadataMatcher) bool {
	at, prefix := c.marker(m)
	if at < 0 {
		return false
	}
	var marker guardv3.RBAC
	open(c.filters[at].config, &marker)
	all := false
	for name, p := range marker.GetShadowRules().GetPolicies() {
		if !strings.HasPrefix(name, prefix) {
			return false // if this one matches too, the mark may be its name
		}
		all = all || p.Condition == nil && p.CheckedCondition == nil && anyPolicy(p)
	}
	return all
}

// verifyMark wants the filter that marks requests to do so on a target.
func (c *chain) verifyMark(w *target, m *matcherv3.MetadataMatcher) {
	at, _ := c.marker(m)
	if at < 0 {
		return // told already
	}
	if f := c.filters[at]; len(w.settings(f.name)) > 0 || !f.runs(w) {
		c.fault(w.where, "it has settings for the filter "+envoy.Quote(f.name)+", by whose mark ext_authz knows what to check",
			"remove them")
	}
}

// marker returns where the RBAC filter is that writes what m reads, with a
// DENY in its shadow rules (an ALLOW marks nothing for ext_authz), and how the
// names of its policies must begin.
func (c *chain) marker(m *matcherv3.MetadataMatcher) (at int, prefix string) {
	prefix = m.GetValue().GetStringMatch().GetPrefix()
	if m.GetFilter() != envoy.GuardFilter || len(m.GetPath()) != 1 || m.GetInvert() || prefix == "" {
		return -1, ""
	}
	for i, f := range c.filters[:c.checkAt] {
		var marker guardv3.RBAC
		if open(f.config, &marker) && marker.GetShadowRules().GetAction() == rbacv3.RBAC_DENY &&
			m.Path[0].GetKey() == marker.GetShadowRulesStatPrefix()+effectivePolicy {
			return i, prefix
		}
	}
	return -1, ""
}

// anyPolicy reports whether a policy matches whatever comes.
func anyPolicy(p *rbacv3.Policy) bool {
	permitted, known := false, false
	for _, x := range p.GetPermissions() {
		permitted = permitted || anyPermission(x)
	}
	for _, x := range p.GetPrincipals() {
		known = known || anyPrincipal(x)
	}
	return permitted && known
}

func anyPermission(p *rbacv3.Permission) bool {
	all := len(p.GetAndRules().GetRules()) > 0
	for _, x := range p.GetAndRules().GetRules() {
		all = all && anyPermission(x)
	}
	for _, x := range p.GetOrRules().GetRules() {
		all = all || anyPermission(x)
	}
	return p.GetAny() || all
}

func anyPrincipal(p *rbacv3.Principal) bool {
	all := len(p.GetAndIds().GetIds()) > 0
	for _, x := range p.GetAndIds().GetIds() {
		all = all && anyPrincipal(x)
	}
	for _, x := range p.GetOrIds().GetIds() {
		all = all || anyPrincipal(x)
	}
	return p.GetAny() || all
}

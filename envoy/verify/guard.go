package verify

import (
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/athd/athd/envoy"
)

// An assurance is what must be true of a request that a guard lets through.
type assurance struct {
	nothing  bool // no request is let through at all
	allow    bool // athd allowed it
	provider string
	some     bool // for some provider, if not for this one
	host     bool // athd said a host
	same     bool // and the request goes to that very host
}

// both is what two conditions assure together.
func (a assurance) both(b assurance) assurance {
	if a.provider != "" && b.provider != "" && a.provider != b.provider {
		return assurance{nothing: true}
	}
	out := assurance{
		nothing: a.nothing || b.nothing, allow: a.allow || b.allow, provider: a.provider,
		some: a.some || b.some, host: a.host || b.host, same: a.same || b.same,
	}
	if out.provider == "" {
		out.provider = b.provider
	}
	return out
}

// either is what holds whichever of two conditions does.
func (a assurance) either(b assurance) assurance {
	switch {
	case a.nothing:
		return b
	case b.nothing:
		return a
	case a.provider != b.provider:
		a.provider = ""
	}
	a.allow, a.some, a.host, a.same = a.allow && b.allow, a.some && b.some, a.host && b.host, a.same && b.same
	return a
}

// assures returns what rules of the RBAC filter promise of a request that
// they let through.
func assures(rules *rbacv3.RBAC) assurance {
	switch rules.GetAction() {
	case rbacv3.RBAC_ALLOW: // if any policy matches
		out := assurance{nothing: true}
		for _, p := range rules.GetPolicies() {
			out = out.either(policyAssures(p, true))
		}
		return out
	case rbacv3.RBAC_DENY: // unless any policy matches
		out := assurance{}
		for _, p := range rules.GetPolicies() {
			out = out.both(policyAssures(p, false))
		}
		return out
	}
	return assurance{} // LOG stops nothing
}

// policyAssures is for a policy that matches, or that does not: it matches if
// any permission and any principal does, and its condition in CEL. That one can only
// narrow what matches.
func policyAssures(p *rbacv3.Policy, matches bool) assurance {
	if !matches && (p.Condition != nil || p.CheckedCondition != nil) {
		return assurance{}
	}
	return combine(!matches,
		anyOf(p.Permissions, matches, permissionAssures),
		anyOf(p.Principals, matches, principalAssures),
	).both(assurance{same: matches && wantsSaidHost(p.Condition)})
}

// anyOf is for a list of which one must match, or, if it does not match, none.
func anyOf[T any](list []T, matches bool, assures func(T, bool) assurance) assurance {
	var out []assurance
	for _, item := range list {
		out = append(out, assures(item, matches))
	}
	return combine(matches, out...)
}

// allOf is for a list of which every one must match, or, if it does not match,
// not every one does.
func allOf[T any](list []T, matches bool, assures func(T, bool) assurance) assurance {
	var out []assurance
	for _, item := range list {
		out = append(out, assures(item, matches))
	}
	return combine(!matches, out...)
}

func combine(either bool, list ...assurance) assurance {
	out := assurance{nothing: either}
	for _, a := range list {
		if either {
			out = out.either(a)
		} else {
			out = out.both(a)
		}
	}
	return out
}

func permissionAssures(p *rbacv3.Permission, matches bool) assurance {
	switch r := p.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		return allOf(r.AndRules.GetRules(), matches, permissionAssures)
	case *rbacv3.Permission_OrRules:
		return anyOf(r.OrRules.GetRules(), matches, permissionAssures)
	case *rbacv3.Permission_NotRule:
		return permissionAssures(r.NotRule, !matches)
	case *rbacv3.Permission_Any:
		return assurance{nothing: r.Any != matches}
	case *rbacv3.Permission_Metadata:
		return metadataAssures(r.Metadata, rbacv3.MetadataSource_DYNAMIC, matches)
	case *rbacv3.Permission_SourcedMetadata:
		return metadataAssures(r.SourcedMetadata.GetMetadataMatcher(), r.SourcedMetadata.GetMetadataSource(), matches)
	}
	return assurance{}
}

func principalAssures(p *rbacv3.Principal, matches bool) assurance {
	switch r := p.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		return allOf(r.AndIds.GetIds(), matches, principalAssures)
	case *rbacv3.Principal_OrIds:
		return anyOf(r.OrIds.GetIds(), matches, principalAssures)
	case *rbacv3.Principal_NotId:
		return principalAssures(r.NotId, !matches)
	case *rbacv3.Principal_Any:
		return assurance{nothing: r.Any != matches}
	case *rbacv3.Principal_Metadata:
		return metadataAssures(r.Metadata, rbacv3.MetadataSource_DYNAMIC, matches)
	case *rbacv3.Principal_SourcedMetadata:
		return metadataAssures(r.SourcedMetadata.GetMetadataMatcher(), r.SourcedMetadata.GetMetadataSource(), matches)
	}
	return assurance{}
}

// metadataAssures reads the one kind of condition that can assure anything:
// what the ext_authz filter wrote, as athd said it.
func metadataAssures(m *matcherv3.MetadataMatcher, source rbacv3.MetadataSource, matches bool) assurance {
	if m.GetInvert() {
		matches = !matches
	}
	if !matches || source != rbacv3.MetadataSource_DYNAMIC || m.GetFilter() != envoy.CheckFilter || len(m.GetPath()) != 1 {
		return assurance{}
	}
	switch m.Path[0].GetKey() {
	case envoy.MetaAllow:
		return assurance{allow: m.GetValue().GetBoolMatch()}
	case envoy.MetaProvider:
		said := m.GetValue().GetStringMatch()
		return assurance{provider: said.GetExact(), some: wantsText(said)}
	case envoy.MetaHost:
		return assurance{host: wantsText(m.GetValue().GetStringMatch())}
	}
	return assurance{}
}

// wantsText reports whether a matcher takes no empty text.
func wantsText(m *matcherv3.StringMatcher) bool {
	switch m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact, *matcherv3.StringMatcher_Prefix, *matcherv3.StringMatcher_Suffix,
		*matcherv3.StringMatcher_Contains, *matcherv3.StringMatcher_SafeRegex:
		return !stringMatches(m, "")
	}
	return false
}

package verify

import (
	"maps"
	"net/netip"
	"slices"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/matchers/upstream_ip_port/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/athd/athd/envoy"
)

// An answer says whether rules match; maybe, where they ask for what is not known.
type answer int

const (
	no answer = iota
	maybe
	yes
)

func answerOf(b bool) answer {
	if b {
		return yes
	}
	return no
}

// A condition evaluates what rules ask, for an address that is about to be connected
// to, with or without TLS.
type condition func(at netip.AddrPort, http bool) answer

func always(a answer) condition { return func(netip.AddrPort, bool) answer { return a } }

func opposite(c condition) condition {
	return func(at netip.AddrPort, http bool) answer { return yes - c(at, http) }
}

func allMatch[T any](list []T, read func(T) condition) condition {
	all := make([]condition, len(list))
	for i, one := range list {
		all[i] = read(one)
	}
	return func(at netip.AddrPort, http bool) answer {
		out := yes
		for _, c := range all {
			out = min(out, c(at, http))
		}
		return out
	}
}

func anyMatches[T any](list []T, read func(T) condition) condition {
	return opposite(allMatch(list, func(one T) condition { return opposite(read(one)) }))
}

// admits is true of what rules let pass.
func admits(r *rbacv3.RBAC) condition {
	matches := anyMatches(slices.Collect(maps.Values(r.GetPolicies())), func(p *rbacv3.Policy) condition {
		policy := []condition{anyMatches(p.GetPermissions(), permits), anyMatches(p.GetPrincipals(), isPrincipal)}
		if p.GetCondition() != nil || p.GetCheckedCondition() != nil {
			policy = append(policy, always(maybe))
		}
		return allMatch(policy, func(c condition) condition { return c })
	})
	switch r.GetAction() {
	case rbacv3.RBAC_ALLOW:
		return matches
	case rbacv3.RBAC_DENY:
		return opposite(matches)
	}
	return always(yes) // LOG stops nothing
}

func permits(p *rbacv3.Permission) condition {
	switch r := p.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		return allMatch(r.AndRules.GetRules(), permits)
	case *rbacv3.Permission_OrRules:
		return anyMatches(r.OrRules.GetRules(), permits)
	case *rbacv3.Permission_NotRule:
		return opposite(permits(r.NotRule))
	case *rbacv3.Permission_Any:
		return always(answerOf(r.Any))
	case *rbacv3.Permission_Matcher:
		var m upstreamv3.UpstreamIpPortMatcher
		if open(r.Matcher.GetTypedConfig(), &m) {
			return upstream(&m)
		}
	}
	return always(maybe)
}

func isPrincipal(p *rbacv3.Principal) condition {
	says := func(_ netip.AddrPort, http bool) answer { return answerOf(http) }
	switch r := p.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		return allMatch(r.AndIds.GetIds(), isPrincipal)
	case *rbacv3.Principal_OrIds:
		return anyMatches(r.OrIds.GetIds(), isPrincipal)
	case *rbacv3.Principal_NotId:
		return opposite(isPrincipal(r.NotId))
	case *rbacv3.Principal_Any:
		return always(answerOf(r.Any))
	case *rbacv3.Principal_SourcedMetadata:
		if r.SourcedMetadata.GetMetadataSource() == rbacv3.MetadataSource_DYNAMIC && saysHTTP(r.SourcedMetadata.GetMetadataMatcher()) {
			return says
		}
	case *rbacv3.Principal_Metadata:
		if saysHTTP(r.Metadata) {
			return says
		}
	}
	return always(maybe)
}

// saysHTTP reports whether it matches where athd said that no TLS is spoken.
func saysHTTP(m *matcherv3.MetadataMatcher) bool {
	return !m.GetInvert() && m.GetFilter() == envoy.CheckFilter && len(m.GetPath()) == 1 && m.Path[0].GetKey() == envoy.MetaUpstream &&
		m.GetValue().GetStringMatch().GetExact() == envoy.UpstreamHTTP
}

// upstream is true of addresses within a range, of IP addresses and of ports.
func upstream(m *upstreamv3.UpstreamIpPortMatcher) condition {
	ip, ports := m.GetUpstreamIp(), m.GetUpstreamPortRange()
	prefix, ok := prefixOf(ip.GetAddressPrefix(), ip.GetPrefixLen().GetValue())
	return func(at netip.AddrPort, _ bool) answer {
		port := int64(at.Port())
		return answerOf((ip == nil || ok && prefix.Contains(at.Addr())) && (ports == nil || ports.GetStart() <= port && port < ports.GetEnd()))
	}
}

func prefixOf(address string, bits uint32) (netip.Prefix, bool) {
	addr, err := netip.ParseAddr(address)
	if err != nil || bits > uint32(addr.BitLen()) {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, int(bits)).Masked(), true
}

// matchers are the bounds in rules.
type matchers struct {
	prefixes []netip.Prefix
	ports    []uint16
}

func matchersOf(rules []*rbacv3.RBAC) matchers {
	var out matchers
	var walk func(p *rbacv3.Permission)
	walk = func(p *rbacv3.Permission) {
		for _, one := range slices.Concat(p.GetAndRules().GetRules(), p.GetOrRules().GetRules()) {
			walk(one)
		}
		if p.GetNotRule() != nil {
			walk(p.GetNotRule())
		}
		var m upstreamv3.UpstreamIpPortMatcher
		if !open(p.GetMatcher().GetTypedConfig(), &m) {
			return
		}
		if prefix, ok := prefixOf(m.GetUpstreamIp().GetAddressPrefix(), m.GetUpstreamIp().GetPrefixLen().GetValue()); ok {
			out.prefixes = append(out.prefixes, prefix)
		}
		for _, at := range []int64{m.GetUpstreamPortRange().GetStart(), m.GetUpstreamPortRange().GetEnd()} {
			if at > 0 && at < 1<<16 {
				out.ports = append(out.ports, uint16(at))
			}
		}
	}
	for _, r := range rules {
		for _, p := range r.GetPolicies() {
			for _, one := range p.GetPermissions() {
				walk(one)
			}
		}
	}
	return out
}

// A sample is an address that stands for those between two bounds.
type sample struct {
	addr netip.Addr
	of   interface{ String() string } // the range that it is of, or itself
}

// samplesOf are the first and last address of each range, and what is beside them.
func samplesOf(ranges []netip.Prefix) []sample {
	var out []sample
	seen := map[netip.Addr]bool{}
	add := func(addr netip.Addr, of interface{ String() string }) {
		if addr.IsValid() && !seen[addr] {
			seen[addr] = true
			out = append(out, sample{addr, of})
		}
	}
	for _, p := range ranges {
		add(p.Masked().Addr(), p)
	}
	for _, p := range ranges {
		first, last := p.Masked().Addr(), lastOf(p)
		add(last, p)
		add(first.Prev(), first.Prev())
		add(last.Next(), last.Next())
	}
	return out
}

func lastOf(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(bytes)*8; i++ {
		bytes[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

// around are ports, and those beside them.
func around(ports []uint16) []uint16 {
	var out []uint16
	for _, p := range ports {
		for _, one := range []uint16{p, p - 1, p + 1} {
			if one != 0 && p != 0 && !slices.Contains(out, one) {
				out = append(out, one)
			}
		}
	}
	return out
}

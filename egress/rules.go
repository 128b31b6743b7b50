package egress

import (
	"net/netip"
	"slices"
)

// A Rule matches addresses within one of In and none of Except.
type Rule struct {
	In, Except []netip.Prefix
	Port       uint16 // 0: every port
}

// Match reports whether the rule is about an address.
func (r Rule) Match(at netip.AddrPort) bool {
	addr := at.Addr()
	return (r.Port == 0 || r.Port == at.Port()) && contains(r.In, addr) && !contains(r.Except, addr)
}

var (
	internet   = prefixes("0.0.0.0/0", public6.String())
	everything = prefixes("0.0.0.0/0", "::/0")
	// special6 is what of IPv6 is not of the Internet.
	special6 = prefixes("::/3", "4000::/2", "8000::/1")
	// forProxies is private but for ::1, which stands alone among much that is closed:
	// to leave it out of the ranges of that would take a hundred of them. Where it is
	// meant, an [Exception] names it.
	forProxies = slices.DeleteFunc(slices.Clone(private), func(p netip.Prefix) bool { return p.Addr() == netip.IPv6Loopback() })
	private4   = slices.DeleteFunc(slices.Clone(private), func(p netip.Prefix) bool { return p.Addr().Is6() })
)

// Rules is [Policy.Judge], or with http [Policy.JudgeHTTP], as data for a proxy, but
// that AllowPrivate does not open ::1 to it: an address is connected to that a rule of admit matches, and none of refuse.
func (p Policy) Rules(http bool) (admit, refuse []Rule) {
	if !http || p.AllowHTTP {
		admit = append(admit, Rule{In: internet, Except: slices.Concat(private4, shared)})
		if p.AllowPrivate {
			admit = append(admit, Rule{In: forProxies})
		}
	}
	for _, e := range p.Allow {
		if e.HTTP || !http || p.AllowHTTP {
			admit = append(admit, Rule{In: []netip.Prefix{e.Addresses}, Port: e.Port})
		}
	}
	for _, r := range p.refused(http) {
		// What nothing admits need not be refused.
		r.In = slices.DeleteFunc(slices.Clone(r.In), func(prefix netip.Prefix) bool {
			return !slices.ContainsFunc(admit, func(a Rule) bool {
				inside := func(x netip.Prefix) bool { return x.Bits() <= prefix.Bits() && x.Contains(prefix.Addr()) }
				return slices.ContainsFunc(a.In, prefix.Overlaps) && !slices.ContainsFunc(a.Except, inside) && (a.Port == 0 || r.Port == 0 || a.Port == r.Port)
			})
		})
		if len(r.In) > 0 {
			refuse = append(refuse, r)
		}
	}
	return admit, refuse
}

func (p Policy) refused(http bool) []Rule {
	all := []Rule{{In: closed}}
	for _, l := range p.Own {
		own := Rule{Port: l.Port}
		switch {
		case http && p.leaves(l):
			own.In = everything
		case !l.Addr.IsValid():
			own.In = slices.Concat(private4, shared, special6)
		case l.Addr.IsLoopback():
			own.In = loopback
		default:
			own.In = []netip.Prefix{prefixOf(l.Addr)}
		}
		all = append(all, own)
	}
	return all
}

// Unreachable are the addresses that are connected to at no port. A resolver that
// drops them from what names resolve to leaves nothing else to be tried when a
// connection fails (RFC 8305), than what may be tried.
func (p Policy) Unreachable() []netip.Prefix {
	var open []netip.Prefix
	if p.AllowPrivate {
		open = slices.Clone(forProxies)
	}
	for _, e := range p.Allow {
		open = append(open, e.Addresses)
	}
	out := slices.Concat(private4, shared, special6)
	for _, hole := range open {
		var rest []netip.Prefix
		for _, prefix := range out {
			rest = append(rest, without(prefix, hole)...)
		}
		out = rest
	}
	for _, c := range closed {
		if !slices.ContainsFunc(out, func(x netip.Prefix) bool { return x.Bits() <= c.Bits() && x.Contains(c.Addr()) }) {
			out = append(out, c)
		}
	}
	return joined(out)
}

// joined makes one prefix of two halves.
func joined(all []netip.Prefix) []netip.Prefix {
	slices.SortFunc(all, netip.Prefix.Compare)
	out := all[:0]
	for _, p := range all {
		for len(out) > 0 {
			last := out[len(out)-1]
			whole := netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
			if last.Bits() != p.Bits() || last == p || !whole.Contains(last.Addr()) || last.Addr().BitLen() != p.Addr().BitLen() {
				break
			}
			p, out = whole, out[:len(out)-1]
		}
		out = append(out, p)
	}
	return out
}

// without is a prefix less another one.
func without(p, hole netip.Prefix) []netip.Prefix {
	switch {
	case !p.Overlaps(hole):
		return []netip.Prefix{p}
	case hole.Bits() <= p.Bits():
		return nil
	}
	lower := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	bytes := p.Addr().AsSlice()
	bytes[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	addr, _ := netip.AddrFromSlice(bytes)
	return append(without(lower, hole), without(netip.PrefixFrom(addr, p.Bits()+1), hole)...)
}

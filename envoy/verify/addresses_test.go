package verify_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/matchers/upstream_ip_port/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/egress"
	"github.com/athd/athd/envoy/verify"
)

// An addressRange is one of addresses and ports, or with not all that is not in it.
type addressRange struct {
	prefix      netip.Prefix
	first, last uint16
	not         bool
}

func (r addressRange) has(at netip.AddrPort) bool {
	return (r.prefix.Contains(at.Addr()) && r.first <= at.Port() && at.Port() <= r.last) != r.not
}

func (r addressRange) permission(t testing.TB) *rbacv3.Permission {
	a, err := anypb.New(&upstreamv3.UpstreamIpPortMatcher{
		UpstreamIp:        &corev3.CidrRange{AddressPrefix: r.prefix.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(r.prefix.Bits()))},
		UpstreamPortRange: &typev3.Int64Range{Start: int64(r.first), End: int64(r.last) + 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &rbacv3.Permission{Rule: &rbacv3.Permission_Matcher{Matcher: &corev3.TypedExtensionConfig{Name: "upstream", TypedConfig: a}}}
	if r.not {
		return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: p}}
	}
	return p
}

// rangesIn reads ranges, and in the end the address that is tried.
func rangesIn(data []byte) (all []addressRange, at netip.AddrPort) {
	next := func(n int) []byte {
		out := make([]byte, n)
		data = data[copy(out, data):]
		return out
	}
	address := func(six bool) netip.Addr {
		if six {
			return netip.AddrFrom16([16]byte(next(16)))
		}
		return netip.AddrFrom4([4]byte(next(4)))
	}
	port := func() uint16 { b := next(2); return max(uint16(b[0])<<8|uint16(b[1]), 1) }
	how := next(1)[0]
	at = netip.AddrPortFrom(address(how&1 > 0), port())
	for len(data) > 0 && len(all) < 6 {
		how := next(1)[0]
		addr := address(how&1 > 0)
		r := addressRange{prefix: netip.PrefixFrom(addr, int(next(1)[0])%(addr.BitLen()+1)).Masked(), first: port(), last: port(), not: how&2 > 0}
		if r.first > r.last {
			r.first, r.last = r.last, r.first
		}
		all = append(all, r)
	}
	return all, at
}

// Whatever rules judge the addresses: what they admit beyond athd's policy is found, at
// whatever address and port it is, and so is what they refuse of it.
// proves: A-7
func FuzzAddressesAreComparedWhole(f *testing.F) {
	policy := egress.Policy{
		Allow: []egress.Exception{{Addresses: netip.MustParsePrefix("10.20.0.0/16"), Port: 8443}},
		Own:   []egress.Listener{{What: "listen.http", Addr: netip.MustParseAddr("10.20.0.1"), Port: 8443}},
	}
	const four, six, not = 0, 1, 2
	address := func(kind byte, s string, more ...byte) []byte {
		return append(append([]byte{kind}, netip.MustParseAddr(s).AsSlice()...), more...)
	}
	f.Add(false, slices.Concat(address(four, "127.0.0.1", 0, 80), address(four, "127.0.0.0", 8, 0, 1, 255, 255)))
	f.Add(true, slices.Concat(address(six, "2001:4860::1", 1, 187), address(four|not, "10.20.0.0", 16, 0, 1, 255, 255)))
	f.Add(false, slices.Concat(address(four, "10.20.0.1", 32, 251), address(four|not, "10.20.0.1", 32, 32, 251, 32, 251), address(six, "fd00::", 8, 0, 1, 255, 255)))
	f.Fuzz(func(t *testing.T, deny bool, data []byte) {
		ranges, at := rangesIn(data)
		rules := &rbacv3.RBAC{Policies: map[string]*rbacv3.Policy{"p": {Principals: []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}}}}}
		got := false
		for _, r := range ranges {
			rules.Policies["p"].Permissions = append(rules.Policies["p"].Permissions, r.permission(t))
			got = got || r.has(at)
		}
		if deny {
			rules.Action, got = rbacv3.RBAC_DENY, !got
		}
		all := verify.CompareAddresses(policy, rules)
		found := func(what string) bool {
			return slices.ContainsFunc(all, func(f string) bool { return strings.Contains(f, what) })
		}
		want := policy.Judge(at) == nil && !at.Addr().Is4In6()
		if got && !want && !found("which athd's egress keeps closed") {
			t.Errorf("%v is admitted by %v (deny: %v), and it is not found", at, ranges, deny)
		}
		if !got && want && !found("where athd lets providers be") {
			t.Errorf("%v is refused by %v (deny: %v), and it is not found", at, ranges, deny)
		}
	})
}

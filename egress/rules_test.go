package egress

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// Go's dialer and Envoy are given the same answers by two roads: they must meet
// at each border of each range.
// proves: A-7
func TestRulesSayWhatIsJudged(t *testing.T) {
	except := func(prefix string, port uint16, http bool) Exception {
		return Exception{netip.MustParsePrefix(prefix), port, http}
	}
	own := []Listener{
		{What: "listen.http", Addr: netip.MustParseAddr("127.0.0.1"), Port: 9000}, {What: "envoy.admin", Addr: netip.MustParseAddr("10.1.2.3"), Port: 9901},
		{What: "envoy.athd_grpc", Port: 9001}, {What: "envoy.listen", Addr: netip.MustParseAddr("127.0.0.1"), Port: 3000, Public: true},
	}
	policies := map[string]Policy{
		"nothing": {}, "own": {Own: own}, "private": {AllowPrivate: true, Own: own}, "http": {AllowHTTP: true, Own: own},
		"development": {AllowPrivate: true, AllowHTTP: true, Own: own},
		"exceptions": {Own: own, Allow: []Exception{
			except("10.1.0.0/16", 0, false), except("127.0.0.1/32", 3000, true), except("127.0.0.0/8", 9000, true), except("fd12:3456::/48", 0, true), except("100.64.0.0/16", 8443, false),
			except("93.184.215.14/32", 80, true), except("::1/128", 9001, false),
		}},
		"all private": {Allow: []Exception{except("10.0.0.0/8", 0, false), except("172.16.0.0/12", 0, false), except("192.168.0.0/16", 0, true)}},
		"both":        {AllowPrivate: true, Own: own, Allow: []Exception{except("10.0.0.0/8", 80, true), except("fc00::/8", 0, true)}},
	}
	var addresses []netip.Addr
	for _, p := range slices.Concat(closed, private, shared, internet, special6, prefixes("10.1.0.0/16", "127.0.0.1/32", "10.1.2.3/32", "fd12:3456::/48", "100.64.0.0/16", "93.184.215.14/32", "fc00::/8", "64:ff9b::/96", "::ffff:0:0/96", "fe80::/10")) {
		last := p.Addr().AsSlice()
		for i := p.Bits(); i < len(last)*8; i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, a := range []netip.Addr{p.Addr(), p.Addr().Prev(), end, end.Next()} {
			if a.IsValid() {
				addresses = append(addresses, a)
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2_000 {
		var b [16]byte
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		addresses = append(addresses, netip.AddrFrom4([4]byte(b[:4])), netip.AddrFrom16(b))
	}
	for name, p := range policies {
		unreachable := p.Unreachable()
		for _, http := range []bool{false, true} {
			admit, refuse := p.Rules(http)
			judge := p.Judge
			if http {
				judge = p.JudgeHTTP
			}
			for _, a := range addresses {
				if a.Is4In6() || a == netip.IPv6Loopback() && p.AllowPrivate {
					continue // Go's dialer takes the first for the IPv4 address, Envoy for none
				}
				for _, port := range []uint16{80, 443, 3000, 8443, 9000, 9001, 9901} {
					at := netip.AddrPortFrom(a, port)
					matches := func(r Rule) bool { return r.Match(at) }
					got := slices.ContainsFunc(admit, matches) && !slices.ContainsFunc(refuse, matches)
					if want := judge(at) == nil; got != want {
						t.Fatalf("%s, http %v: %s: by the rules %v, judged %v", name, http, at, got, want)
					}
					if got && contains(unreachable, a) {
						t.Fatalf("%s: %s is not reachable, and may be connected to", name, at)
					}
				}
			}
		}
		for _, a := range addresses {
			// Own ports aside, what is dropped is what no port of may be connected to.
			open := p
			open.Own = nil
			reachable := slices.ContainsFunc([]uint16{1, 80, 3000, 8443, 9000, 9001}, func(port uint16) bool { return open.Judge(netip.AddrPortFrom(a, port)) == nil })
			if !a.Is4In6() && !(a == netip.IPv6Loopback() && p.AllowPrivate) && contains(unreachable, a) == reachable {
				t.Fatalf("%s: %s is dropped: %v", name, a, !reachable)
			}
		}
	}
	if mapped := netip.MustParseAddr("::ffff:127.0.0.1"); !contains(Policy{AllowPrivate: true}.Unreachable(), mapped) {
		t.Error("A-7: an IPv4-mapped address is reachable")
	}
}

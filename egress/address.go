package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// ErrAddress says that a host is at an address that nobody outside should make
// us connect to.
var ErrAddress = errors.New("address is not public")

// private are the addresses that AllowPrivate opens, and an [Exception].
var private = prefixes("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")

// loopback are those of private that are this machine's own.
var loopback = prefixes("127.0.0.0/8", "::1/128")

// shared are the addresses that an [Exception] opens, and nothing else: some
// networks use them as private ones.
var shared = prefixes(
	"100.64.0.0/10", // carrier-grade NAT (RFC 6598)
	"198.18.0.0/15", // benchmarking
)

// closed are the addresses which are never connected to, whatever is allowed:
// of no host, of a link, of clouds' metadata services.
var closed = prefixes(
	"0.0.0.0/8",           // this network
	"100.100.100.200/32",  // a metadata service, within carrier-grade NAT
	"169.254.0.0/16",      // link-local, with metadata services at 169.254.169.254 and others
	"168.63.129.16/32",    // a cloud's wire server, on a public-looking address
	"192.0.0.0/24",        // IETF protocol assignments, with a metadata service at 192.0.0.192
	"192.0.2.0/24",        // documentation
	"192.88.99.0/24",      // 6to4 relays
	"198.51.100.0/24",     // documentation
	"203.0.113.0/24",      // documentation
	"224.0.0.0/4",         // multicast
	"240.0.0.0/4",         // reserved, broadcast
	"2001::/23",           // IETF protocol assignments: Teredo, benchmarks, ORCHID
	"2001:db8::/32",       // documentation
	"2002::/16",           // 6to4: holds an IPv4 address
	"3fff::/20",           // documentation
	"fd00:ec2::/32",       // metadata services
	"fd20:ce::254/128",    // a metadata service
	"fd00:42::42/128",     // a metadata service
	"fd00:c1::a9fe:0/112", // a metadata service
)

// public6 is where IPv6 addresses of the Internet are. All others are special:
// loopback, unique local, link-local, multicast, discard, NAT64 (64:ff9b::/96
// and 64:ff9b:1::/48 hold IPv4 addresses), and what is not yet assigned.
var public6 = netip.MustParsePrefix("2000::/3")

// isPublic reports whether an address is of the Internet.
func isPublic(addr netip.Addr) bool {
	return !contains(closed, addr) && !contains(private, addr) && !contains(shared, addr) && (addr.Is4() || public6.Contains(addr))
}

func contains(all []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// control returns a function for [net.Dialer]: it runs after names are
// resolved, with the address that is about to be connected to, so that a name
// that resolves to something else the second time gains nothing.
func control(judge func(netip.AddrPort) error) func(network, address string, _ syscall.RawConn) error {
	return func(network, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil || network != "tcp4" && network != "tcp6" {
			return fmt.Errorf("%s: %w", network, ErrAddress)
		}
		return judge(ap)
	}
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

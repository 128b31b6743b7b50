package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ParseAddresses reads what an [Exception] opens: a network as 10.20.0.0/16, an
// address as 10.0.0.5, or an address with a port as 10.0.0.5:8443. The port is 0
// where none is written.
func ParseAddresses(s string) (netip.Prefix, uint16, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		if ap.Port() == 0 {
			return netip.Prefix{}, 0, errors.New("want a port from 1 to 65535")
		}
		return prefixOf(ap.Addr()), ap.Port(), nil
	}
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil && addr.Zone() == "" {
		return prefixOf(addr), 0, nil
	}
	network, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, 0, errors.New("want a network such as 10.20.0.0/16, an address, or an address and a port such as 10.0.0.5:8443")
	case network != network.Masked():
		return netip.Prefix{}, 0, fmt.Errorf("has bits behind its length: want %s", network.Masked())
	}
	return network, 0, nil
}

func prefixOf(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

// Check reports what keeps an exception from being one: no link-local or
// metadata address is ever allowed, and what listens on loopback is allowed port
// by port.
func (e Exception) Check() error {
	overlaps := func(p netip.Prefix) bool { return p.Overlaps(e.Addresses) }
	switch i := slices.IndexFunc(closed, overlaps); {
	case !e.Addresses.IsValid():
		return errors.New("is missing")
	case e.Addresses.Addr().Zone() != "" || e.Addresses.Addr().Is4In6():
		return errors.New("want an IPv4 address as such, and no zone")
	case i >= 0:
		return fmt.Errorf("has addresses of %s, which are never reached (link-local, metadata services and the like)", closed[i])
	case e.Port == 0 && slices.ContainsFunc(loopback, overlaps):
		return errors.New("has loopback addresses, on which athd and Envoy listen too: name the port")
	case e.Addresses.Addr().Is6() && !public6.Overlaps(e.Addresses) && !slices.ContainsFunc(private, overlaps):
		return errors.New("has addresses that are no host's of a network of yours: they are never reached")
	case e.Addresses.Addr().Is6() && e.Addresses.Bits() < 7:
		return errors.New("is most of IPv6: name your network")
	}
	return nil
}

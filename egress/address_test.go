package egress

import (
	"net/netip"
	"testing"
)

// proves: A-7
func TestAddresses(t *testing.T) {
	const never, development, always = 0, 1, 2
	for address, want := range map[string]int{
		"93.184.215.14": always, "1.1.1.1": always, "100.63.255.255": always, "100.128.0.1": always, "172.32.0.1": always, "192.169.0.1": always,
		"2606:4700::1111": always, "2a00:1450::1": always, "::ffff:1.1.1.1": always,

		"127.0.0.1": development, "127.255.0.9": development, "10.1.2.3": development, "172.16.0.1": development, "172.31.255.255": development,
		"192.168.1.1": development, "::1": development, "fc00::1": development, "fd12:3456::1": development,
		"::ffff:127.0.0.1": development, "::ffff:10.0.0.1": development,

		"0.0.0.0": never, "0.1.2.3": never, "::": never,
		"169.254.169.254": never, "169.254.0.1": never, "::ffff:169.254.169.254": never, "169.254.170.2": never,
		"fe80::1": never, "fe80::1%eth0": never, "::1%lo": never, "fec0::1": never,
		"fd00:ec2::254": never, "fd20:ce::254": never, "fd00:c1::a9fe:a9fe": never, "fd00:42::42": never, "168.63.129.16": never, "100.100.100.200": never, "192.0.0.192": never,
		"100.64.0.1": never, "100.127.255.255": never, "224.0.0.1": never, "239.1.1.1": never, "255.255.255.255": never, "240.0.0.1": never,
		"ff02::1": never, "198.18.0.1": never, "198.19.255.255": never, "192.0.2.1": never, "198.51.100.1": never, "203.0.113.1": never, "192.88.99.1": never,
		"64:ff9b::7f00:1": never, "64:ff9b::1.1.1.1": never, "64:ff9b:1::1": never, "2002:7f00:1::1": never, "2001:0:1::1": never, "2001:2::1": never,
		"2001:20::1": never, "2001:db8::1": never, "3fff::1": never, "100::1": never, "5f00::1": never, "4000::1": never, "::7f00:1": never, "::127.0.0.1": never,
	} {
		addr := netip.MustParseAddr(address)
		if got := (Policy{}).Judge(netip.AddrPortFrom(addr, 443)) == nil; got != (want == always) {
			t.Errorf("A-7: %s: allowed %v", address, got)
		}
		if got := (Policy{AllowPrivate: true}).Judge(netip.AddrPortFrom(addr, 443)) == nil; got != (want >= development) {
			t.Errorf("A-7: %s: allowed %v where private hosts are", address, got)
		}
	}
	if (Policy{AllowPrivate: true}).Judge(netip.AddrPort{}) == nil {
		t.Error("A-7: the zero address is allowed")
	}
	for _, tt := range []struct {
		network, address string
		ok               bool
	}{
		{"tcp4", "1.1.1.1:443", true}, {"tcp6", "[2606:4700::1111]:8443", true}, {"tcp4", "127.0.0.1:443", false}, {"tcp6", "[::ffff:127.0.0.1]:443", false},
		{"udp4", "1.1.1.1:443", false}, {"unix", "/run/x", false}, {"tcp4", "name:443", false}, {"tcp6", "[fe80::1%eth0]:443", false}, {"", "", false},
	} {
		if got := control(Policy{}.Judge)(tt.network, tt.address, nil) == nil; got != tt.ok {
			t.Errorf("A-7: %s %s: allowed %v", tt.network, tt.address, got)
		}
	}
}

package exchange

import (
	"net/netip"
	"strings"
)

// Peer returns the address of a client's connection without its port; "" is none that
// has one.
func Peer(address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return ""
	}
	return at.Addr().String()
}

// clientOf returns the address of the client: that of Envoy's peer, or, behind
// trusted proxies, the one that the first of them told, which has one place for
// each of them and Envoy's own behind it. "" is an address that is none.
func clientOf(peer, forwardedFor string, trustedHops int) string {
	if trustedHops == 0 || forwardedFor == "" {
		return peer
	}
	for range trustedHops {
		i := strings.LastIndexByte(forwardedFor, ',')
		if i < 0 {
			break // somebody came around them
		}
		forwardedFor = forwardedFor[:i]
	}
	client, err := netip.ParseAddr(strings.TrimSpace(forwardedFor[strings.LastIndexByte(forwardedFor, ',')+1:]))
	if err != nil {
		return peer
	}
	return client.String()
}

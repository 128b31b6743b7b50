package athflow

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientAddress is the address by which a client is counted: one that the
// client cannot choose. Envoy removes what came as X-Forwarded-For and puts
// there whose connection it is. That is believed of a peer that is Envoy:
// over a Unix socket, over loopback, with a certificate that we demanded, or
// from an address that the operator named. Of others their own address
// counts. An IPv6 client counts with its /64, of which it has every address.
func clientAddress(r *http.Request, envoys []netip.Prefix) netip.Addr {
	peer := peerAddress(r)
	if !isEnvoy(r, peer, envoys) {
		return network(peer)
	}
	lines := r.Header.Values("X-Forwarded-For")
	if len(lines) == 0 {
		return network(peer)
	}
	// What stands last is what the nearest proxy wrote.
	last := lines[len(lines)-1]
	last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	client, err := netip.ParseAddr(last)
	if err != nil {
		return network(peer)
	}
	return network(client)
}

// peerAddress is the zero Addr for a Unix socket.
func peerAddress(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

func isEnvoy(r *http.Request, peer netip.Addr, envoys []netip.Prefix) bool {
	if !peer.IsValid() || peer.IsLoopback() {
		return true
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	for _, p := range envoys {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

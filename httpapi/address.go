package httpapi

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientAddress is the address that a request came from, one that the client
// cannot choose. Envoy removes what came as X-Forwarded-For and puts
// there whose connection it is. That is believed of a peer that is Envoy:
// over a Unix socket, over loopback, with a certificate that we demanded, or
// from an address that the operator named. Of others their own address
// counts. It is not valid where nobody told it.
func clientAddress(r *http.Request, envoys []netip.Prefix) netip.Addr {
	peer := peerAddress(r)
	if !isEnvoy(r, peer, envoys) {
		return peer
	}
	lines := r.Header.Values("X-Forwarded-For")
	if len(lines) == 0 {
		return peer
	}
	// What stands last is what the nearest proxy wrote.
	last := lines[len(lines)-1]
	last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	client, err := netip.ParseAddr(last)
	if err != nil {
		return peer
	}
	return client.Unmap().WithZone("")
}

// peerAddress is the zero Addr for a Unix socket.
func peerAddress(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
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

// ClientAddress is the address that a request came from, one that the client
// cannot choose; not valid where nobody told it.
func (s *Server) ClientAddress(r *http.Request) netip.Addr {
	return clientAddress(r, s.limiter.Envoys)
}

// Address is the client's for an event, "" where nobody told it.
func (s *Server) Address(r *http.Request) string {
	if a := s.ClientAddress(r); a.IsValid() {
		return a.String()
	}
	return ""
}

// Network is what a client is counted by: an IPv6 client has every address of
// its /64.
func Network(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

package config

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/athd/athd/egress"
)

// egress reads where providers that come at run time may be, beyond the
// Internet. What athd and Envoy themselves listen on is never among it.
func (l *loader) egress() {
	p := &l.s.Egress
	p.AllowPrivate, p.AllowHTTP = l.c.Development.AllowPrivateHosts, l.c.Development.AllowHTTP
	p.Own = l.s.ownListeners()
	for i, c := range l.c.Egress.Allow {
		at := []any{"egress", "allow", i}
		if l.Doc.Has("egress", "allow", i, "addresses") || c.Addresses == "" {
			at = append(at, "addresses")
		}
		if !l.Required(c.Addresses, at...) {
			continue
		}
		e := egress.Exception{HTTP: c.HTTP}
		var err error
		if e.Addresses, e.Port, err = egress.ParseAddresses(c.Addresses); err != nil {
			l.Fail(err.Error(), at...)
			continue
		}
		if c.Port != nil {
			if e.Port != 0 {
				l.Fail("is there twice: the addresses have a port, too", "egress", "allow", i, "port")
				continue
			}
			if *c.Port < 1 || *c.Port > 65535 {
				l.Fail("want a port from 1 to 65535", "egress", "allow", i, "port")
				continue
			}
			e.Port = uint16(*c.Port)
		}
		if err := e.Check(); err != nil {
			l.Fail(err.Error(), at...)
			continue
		}
		if owner := p.OwnerOf(e); owner != "" {
			l.Fail("is "+owner+", which no provider is reached at", at...)
			continue
		}
		if slices.Contains(p.Allow, e) {
			l.Fail("is there twice", at...)
		}
		p.Allow = append(p.Allow, e)
	}
}

// ownListeners are those of athd and Envoy, as athd binds them and as Envoy dials
// them. Envoy's public one is anybody's to reach: only its loopback side is kept
// from providers where it is on every interface, so that its port stays of use
// elsewhere.
func (s *Settings) ownListeners() []egress.Listener {
	var all []egress.Listener
	add := func(what, hostPort string, public bool) {
		host, text, err := net.SplitHostPort(hostPort)
		port, portErr := strconv.ParseUint(text, 10, 16)
		if err != nil || portErr != nil || port == 0 {
			return // no port to know, or a fault that was told
		}
		own := egress.Listener{What: what, Port: uint16(port), Public: public}
		if addr, err := netip.ParseAddr(host); err == nil && !addr.IsUnspecified() {
			own.Addr = addr.Unmap()
		} else if host == "localhost" || public {
			own.Addr = netip.IPv6Loopback()
			all = append(all, own)
			own.Addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		if !slices.ContainsFunc(all, func(o egress.Listener) bool { return o.Addr == own.Addr && o.Port == own.Port }) {
			all = append(all, own)
		}
	}
	e := s.Envoy
	addAddress := func(what string, a Address) {
		if a.Network == "tcp" {
			add(what, a.At, false)
		}
	}
	addAddress("listen.grpc", s.GRPC)
	addAddress("listen.http", s.HTTP)
	addAddress("listen.admin", s.Admin)
	for _, a := range e.GRPC {
		addAddress("envoy.athd_grpc", a)
	}
	for _, a := range e.HTTP {
		addAddress("envoy.athd_http", a)
	}
	add("envoy.admin", cmp.Or(e.Admin, ":0"), false)
	add("envoy.listen", e.Listen, true)
	return all
}

package egress

import (
	"net/netip"
	"slices"
)

// A Policy says which addresses may be connected to. Its zero value is the
// Internet: no private address, nothing in the clear. Go's dialer asks
// [Policy.Judge]; Envoy's configuration has the same table.
type Policy struct {
	AllowPrivate bool // development: loopback and private addresses too, at every port
	AllowHTTP    bool // development: without TLS, wherever TLS would do

	Allow []Exception // of the operator
	Own   []Listener  // of athd and Envoy themselves: refused, whatever is allowed
}

// An Exception is what an operator allows beyond the Internet.
type Exception struct {
	Addresses netip.Prefix
	Port      uint16 // 0: every port
	HTTP      bool   // without TLS, too
}

// A Listener is an address at which athd or Envoy itself listens.
type Listener struct {
	What string // the key of athd.yaml that names it
	// Addr is the zero Addr where it is not known, for a name or every interface:
	// then Port is refused at all addresses that are not public. A loopback
	// address stands for all of them.
	Addr netip.Addr
	Port uint16
	// Public says that it is anybody's to reach: what gets there by mistake gets no
	// further than an agent does, so that other addresses may have its port.
	Public bool
}

// Judge reports whether an address may be connected to by TLS.
func (p Policy) Judge(at netip.AddrPort) error {
	addr := at.Addr()
	if !addr.IsValid() || addr.Zone() != "" || at.Port() == 0 {
		return ErrAddress
	}
	addr = addr.Unmap() // ::ffff:127.0.0.1 is 127.0.0.1
	switch {
	case contains(closed, addr), p.own(addr, at.Port()):
		return ErrAddress
	case isPublic(addr), p.AllowPrivate && contains(private, addr), p.excepts(addr, at.Port(), false):
		return nil
	}
	return ErrAddress
}

// JudgeHTTP reports whether an address may be connected to without TLS. At a port of
// an own listener that [Policy.Unreachable] leaves reachable none may: a proxy tries it in
// place of an address that was judged and does not answer, and only TLS would notice.
func (p Policy) JudgeHTTP(at netip.AddrPort) error {
	if err := p.Judge(at); err != nil {
		return err
	}
	if slices.ContainsFunc(p.Own, func(l Listener) bool { return l.Port == at.Port() && p.leaves(l) }) {
		return ErrAddress
	}
	if p.AllowHTTP || p.excepts(at.Addr().Unmap(), at.Port(), true) {
		return nil
	}
	return ErrAddress
}

// AllowsHTTP reports whether there is any address that may be connected to
// without TLS. Which one it is, is judged when it is connected to.
func (p Policy) AllowsHTTP() bool {
	return p.AllowHTTP || slices.ContainsFunc(p.Allow, func(e Exception) bool { return e.HTTP })
}

func (p Policy) excepts(addr netip.Addr, port uint16, http bool) bool {
	return slices.ContainsFunc(p.Allow, func(e Exception) bool {
		return e.Addresses.Contains(addr) && (e.Port == 0 || e.Port == port) && (e.HTTP || !http)
	})
}

// OwnerOf returns what of athd's or Envoy's own an exception names outright, by
// one address and port; "" where it does not.
func (p Policy) OwnerOf(e Exception) string {
	for _, l := range p.Own {
		if e.Port == l.Port && e.Addresses.IsSingleIP() && l.is(e.Addresses.Addr()) {
			return l.What
		}
	}
	return ""
}

// is reports whether the listener may be at an address. On loopback one address
// stands for all: 127.0.0.2 reaches what is bound to every interface.
func (l Listener) is(addr netip.Addr) bool {
	switch {
	case !l.Addr.IsValid():
		return !isPublic(addr)
	case l.Addr.IsLoopback():
		return addr.IsLoopback()
	}
	return l.Addr == addr
}

// leaves reports whether an own listener, and not a public one, may be at an address
// that is connected to at some port.
func (p Policy) leaves(l Listener) bool {
	switch {
	case l.Public:
		return false
	case p.AllowPrivate, isPublic(l.Addr):
		return true
	case !l.Addr.IsValid():
		return slices.ContainsFunc(p.Allow, func(e Exception) bool { return !isPublic(e.Addresses.Addr()) })
	case l.Addr.IsLoopback():
		return slices.ContainsFunc(p.Allow, func(e Exception) bool { return slices.ContainsFunc(loopback, e.Addresses.Overlaps) })
	}
	return slices.ContainsFunc(p.Allow, func(e Exception) bool { return e.Addresses.Contains(l.Addr) })
}

func (p Policy) own(addr netip.Addr, port uint16) bool {
	return slices.ContainsFunc(p.Own, func(l Listener) bool {
		return l.Port == port && l.is(addr)
	})
}

package provider

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/athd/athd/ath"
)

// Own is where athd and the Envoy in front of it answer. A run-time provider whose
// API were there would make Envoy call itself, or hand a user's token to athd. The
// zero Own is nowhere.
type Own struct {
	names map[string]bool // as [ath.Host.Name] writes them
	ports map[uint16]bool
}

// AddURL adds the host of a URL at which athd or an app answers, and its port. What
// is no URL with a host adds nothing.
func (o *Own) AddURL(s string) {
	u, err := url.Parse(s)
	if err != nil {
		return
	}
	if host, port, ok := hostAndPort(u); ok {
		o.add(host, port)
	}
}

// AddHost adds a host of an app. Without a port it answers on those of http and
// https.
func (o *Own) AddHost(h ath.Host) {
	if h.Port() != 0 {
		o.add(h.Name(), h.Port())
		return
	}
	o.add(h.Name(), 443)
	o.add(h.Name(), 80)
}

// AddListener adds the host:port of a listener. Port 0 is one that nobody knows
// yet; a Unix socket is no place of an API.
func (o *Own) AddListener(hostport string) {
	if rest, everywhere := strings.CutPrefix(hostport, ":"); everywhere {
		hostport = "0.0.0.0:" + rest
	}
	if h, err := ath.ParseHost(hostport); err == nil {
		o.add(h.Name(), h.Port())
	}
}

func (o *Own) add(name string, port uint16) {
	if name == "" || port == 0 {
		return
	}
	if o.names == nil {
		o.names, o.ports = map[string]bool{}, map[uint16]bool{}
	}
	o.names[name], o.ports[port] = true, true
}

// Has reports whether a URL leads there: to one of the ports, by one of the names
// or by any name of this machine. A name leads where DNS says: what no name tells,
// the address that is dialled does.
func (o Own) Has(u *url.URL) bool {
	if u == nil {
		return false
	}
	name, port, ok := hostAndPort(u)
	return ok && o.ports[port] && (o.names[name] || thisMachine(name))
}

func hostAndPort(u *url.URL) (name string, port uint16, ok bool) {
	h, err := ath.ParseHost(u.Host)
	if err != nil {
		return "", 0, false
	}
	switch port = h.Port(); {
	case port != 0:
	case u.Scheme == "https":
		port = 443
	default:
		port = 80
	}
	return h.Name(), port, true
}

// thisMachine reports whether a host names the machine that looks it up. The
// unspecified addresses are dialled as the loopback interface.
func thisMachine(name string) bool {
	if addr, err := netip.ParseAddr(name); err == nil && addr.IsUnspecified() {
		return true
	}
	switch name {
	case "localhost.localdomain", "localhost6", "localhost6.localdomain6", "ip6-localhost", "ip6-loopback":
		return true
	}
	return ath.IsLoopbackHost(name)
}

// notOwn refuses an API that is athd's own.
func (c *check) notOwn(p *Provider) {
	if c.opt.Own.Has(p.APIBase) {
		c.fail("api_base_url", "this is where athd, Envoy or an app of theirs answers: requests would run in a circle")
	}
}

package into

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/ath"
)

const managerKind = "http_connection_manager.v3.HttpConnectionManager"

// A manager is a connection manager, and where clients reach it.
type manager struct {
	spot
	line     int      // of its listener, or its filter chain
	listener string   // its name, or its address
	chain    string   // the filter chain, where the listener has several; else ""
	names    []string // of TLS (SNI) that the chain is for; none: all
	ports    []string
}

// label is how a person names it.
func (m *manager) label() string {
	if m.chain == "" {
		return m.listener
	}
	return m.listener + "/" + m.chain
}

// managers lists the connection managers of all listeners.
func (d *document) managers() []*manager {
	var out []*manager
	for i, l := range d.spot(d.root, 0).get("static_resources", "listeners").items() {
		addresses := []spot{l.get("address")}
		for _, more := range l.get("additional_addresses").items() {
			addresses = append(addresses, more.get("address"))
		}
		base := manager{listener: l.text("name"), line: l.Line}
		for _, a := range addresses {
			port := a.text("socket_address", "port_value")
			base.ports = append(base.ports, port)
			if base.listener == "" && port != "" {
				base.listener = net.JoinHostPort(a.text("socket_address", "address"), port)
			}
		}
		if base.listener == "" {
			base.listener = fmt.Sprintf("number %d", i+1)
		}
		first := len(out)
		chains := l.get("filter_chains").items()
		if c := l.get("default_filter_chain"); c.there() {
			chains = append(chains, c)
		}
		for j, c := range chains {
			for _, f := range c.get("filters").items() {
				if !f.is(managerKind) {
					continue
				}
				m := base
				m.line = c.Line
				m.spot = f.get("typed_config")
				for _, name := range c.get("filter_chain_match", "server_names").items() {
					m.names = append(m.names, name.Value)
				}
				if m.chain = c.text("name"); m.chain == "" && len(m.names) > 0 {
					m.chain = m.names[0]
				} else if m.chain == "" {
					m.chain = fmt.Sprintf("number %d", j+1)
				}
				out = append(out, &m)
			}
		}
		if len(out) == first+1 {
			out[first].chain, out[first].line = "", l.Line
		}
	}
	return out
}

// find returns the connection managers that agents reach: the one that it must be,
// or those that were named.
func (p *plan) find() ([]*manager, error) {
	all := p.managers()
	if len(all) == 0 {
		line := p.root.Line
		if r := p.spot(p.root, 0).get("dynamic_resources"); r.there() {
			line = r.Line
		}
		return nil, refuse(line, "there is no listener with an HttpConnectionManager: a control plane or another file has it (LDS)", "give that what athd bootstrap --part prints")
	}
	if len(p.config.Listeners) == 0 {
		m, err := p.choose(all)
		return []*manager{m}, err
	}
	var out []*manager
	for _, want := range p.config.Listeners {
		few := slices.DeleteFunc(slices.Clone(all), func(m *manager) bool { return m.label() != want && m.listener != want })
		if len(few) == 0 {
			return nil, refuse(0, fmt.Sprintf("there is no listener %q that serves HTTP", want), "name one of "+labels(all))
		}
		m, err := p.choose(few)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out, nil
}

// choose returns the one of several connection managers to which requests for
// public_url come.
func (p *plan) choose(few []*manager) (*manager, error) {
	public, err := url.Parse(p.config.Parts.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("envoy: public URL: %w", err)
	}
	port := public.Port()
	if port == "" {
		port = map[string]string{"https": "443"}[public.Scheme]
	}
	if port == "" {
		port = "80"
	}
	// Each of these counts only where it leaves something.
	best := 0
	for _, m := range few {
		best = max(best, m.specific(public.Hostname()))
	}
	for _, fits := range []func(*manager) bool{
		(*manager).answers,
		func(m *manager) bool { return slices.Contains(m.ports, port) },
		func(m *manager) bool { return public.Scheme != "https" || m.specific(public.Hostname()) == best },
	} {
		if left := slices.DeleteFunc(slices.Clone(few), func(m *manager) bool { return !fits(m) }); len(left) > 0 {
			few = left
		}
	}
	if len(few) > 1 {
		return nil, refuse(few[1].line, fmt.Sprintf("several listeners could be the one that agents reach at %s: %s", p.config.Parts.PublicURL, labels(few)), "name it by --listener, or each by one if agents reach several")
	}
	m := few[0]
	for _, name := range p.names() {
		if m.specific(name) == 0 {
			return nil, refuse(m.line, fmt.Sprintf("the filter chain %q takes no TLS connections for %q, where athd's parts are needed, too", m.label(), name), "add it to server_names, or name another listener by --listener")
		}
	}
	return m, m.object("the connection manager of " + m.label())
}

// names are the host names that agents and browsers use.
func (p *plan) names() []string {
	out := []string{ath.RequestedHostOf(p.config.Parts.PublicURL).Name()}
	for _, h := range p.parts.hosts {
		if h.domain != "*" {
			out = append(out, h.domain)
		}
	}
	return out
}

func labels(all []*manager) string {
	var out []string
	for _, m := range all {
		if one := fmt.Sprintf("%q (line %d)", m.label(), m.line); !slices.Contains(out, one) {
			out = append(out, one)
		}
	}
	return strings.Join(out, ", ")
}

// answers reports whether it does more than redirect, as far as its routes are
// here.
func (m *manager) answers() bool {
	hosts := m.get("route_config", "virtual_hosts")
	if !hosts.there() {
		return true
	}
	for _, h := range hosts.items() {
		for _, r := range h.get("routes").items() {
			if !r.get("redirect").there() && !r.get("direct_response").there() {
				return true
			}
		}
	}
	return false
}

// specific says how well TLS connections for a name fit this chain; 0: they go
// elsewhere.
func (m *manager) specific(name string) int {
	out := 0
	if len(m.names) == 0 {
		out = 1
	}
	for _, pattern := range m.names {
		out = max(out, specific(pattern, name))
	}
	return out
}

// exactly is how well a domain without a star fits.
const exactly = 1 << 20

// specific says how well a domain of Envoy's fits a host: 0 not at all, and the
// more the better.
func specific(domain, host string) int {
	domain, host = strings.ToLower(domain), strings.ToLower(host)
	begin, end := strings.HasSuffix(domain, "*"), strings.HasPrefix(domain, "*")
	switch rest := strings.Trim(domain, "*"); {
	case domain == host:
		return exactly
	case domain == "*":
		return 1
	case end && strings.HasSuffix(host, rest) && len(host) > len(rest):
		return 1<<10 + len(rest)
	case begin && strings.HasPrefix(host, rest) && len(host) > len(rest):
		return 2 + len(rest)
	}
	return 0
}

// inline reports whether the routes are in this file.
func (m *manager) inline() error {
	for _, name := range []string{"rds", "scoped_routes"} {
		if s := m.get(name); s.there() {
			return refuse(s.Line, fmt.Sprintf("the routes of %q come from elsewhere (%s)", m.label(), name), "give what serves them what athd bootstrap --part routes prints, and "+byHand)
		}
	}
	if m.get("route_config").there() {
		return m.get("route_config").object("route_config")
	}
	return refuse(m.Line, fmt.Sprintf("%q has no route_config", m.label()), "see what envoy --mode validate says of it")
}

// isText reports whether a node is one word or number.
func isText(s spot) bool { return s.there() && s.Kind == yaml.ScalarNode }

package into

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
)

// routes adds athd's to the virtual hosts that agents reach, before all others,
// and virtual hosts of their own where they need them. What is there has nothing
// to do with agents, and goes on without a check.
func (p *plan) routes(m *manager) error {
	if err := m.inline(); err != nil {
		return err
	}
	config := m.get("route_config")
	hosts := config.get("virtual_hosts")
	if !hosts.there() {
		return refuse(config.Line, "route_config has no virtual_hosts", "name another listener by --listener, or add the virtual host that agents reach")
	}
	if err := hosts.list("virtual_hosts"); err != nil {
		return err
	}
	if err := p.routeSettings(m, config, hosts.items()); err != nil {
		return err
	}
	p.placed, p.own = nil, nil
	for _, h := range p.parts.hosts {
		if err := p.place(hosts, h); err != nil {
			return err
		}
	}
	for _, one := range p.placed {
		if err := p.shadowed(one.to, one.host); err != nil {
			return err
		}
		if err := p.addItems(one.to.get("routes"), 0, one.routes); err != nil {
			return err
		}
	}
	return p.addItems(hosts, len(hosts.Content), p.own)
}

// A placed host of athd's is one whose routes go into a virtual host that is there.
type placed struct {
	host
	to spot
}

// place finds where the routes of a host of athd's go.
func (p *plan) place(hosts spot, h host) error {
	to, err := p.answering(hosts.items(), h)
	switch {
	case err != nil:
		return err
	case !to.there() && h.domain == envoy.AnyHost:
		return nil // all that it has is on public_url's host
	case !to.there():
		if there := named(hosts.items(), h.name); there.there() {
			return refuse(there.Line, fmt.Sprintf("there is a virtual host %q, and athd needs one of this name", h.name), "rename yours")
		}
		p.own = append(p.own, h.piece)
		return nil
	case !to.get("routes").there():
		return refuse(to.Line, fmt.Sprintf("the virtual host %q has no routes", to.text("name")), "name another one by --virtual-host")
	}
	for i, other := range p.placed {
		switch {
		case other.to.Node != to.Node:
		case h.hasAll(other.host):
			p.placed[i].host = h
			return nil
		case other.hasAll(h):
			return nil
		default:
			return refuse(to.Line, fmt.Sprintf("the virtual host %q answers %q and %q, which lead to different apps", to.text("name"), other.domain, h.domain), "give each a virtual host of its own")
		}
	}
	p.placed = append(p.placed, placed{h, to})
	return to.get("routes").list("routes")
}

// hasAll reports whether a host has all routes of another one.
func (h host) hasAll(other host) bool {
	return !slices.ContainsFunc(other.routes, func(one piece) bool {
		return !slices.ContainsFunc(h.routes, func(own piece) bool { return slices.Equal(one.lines, own.lines) })
	})
}

// routeSettings are those beside the virtual hosts: ports are no part of their
// names, and what is not athd's is not checked.
func (p *plan) routeSettings(m *manager, config spot, hosts []spot) error {
	for _, name := range []string{envoy.CheckFilter, envoy.JudgeFilter, envoy.GuardFilter} {
		if there := config.get("typed_per_filter_config", name); there.there() {
			return refuse(there.Line, fmt.Sprintf("route_config has settings for %s, not between athd's marks", name), "remove them: no such filter is there that is not athd's")
		}
	}
	text := p.config.Parts.Unchecked()
	root, err := parsed(text)
	if err != nil {
		return err
	}
	unchecked := piece{root.Content[0], root.Content[1], strings.Split(strings.TrimSuffix(text, "\n"), "\n")}
	const why = "# What has nothing to do with agents is let past the check and its guard. athd's routes say otherwise."
	var missing []piece
	if there := config.get("typed_per_filter_config"); config.index("typed_per_filter_config") < 0 {
		missing = append(missing, unchecked.says(why))
	} else if !there.there() {
		return refuse(config.Line, "typed_per_filter_config of route_config has no value", "remove the line")
	} else if err := there.object("typed_per_filter_config"); err != nil {
		return err
	} else {
		both := unchecked.children()
		both[0] = both[0].says(why)
		if err := p.addMembers(there, 0, both); err != nil {
			return err
		}
	}
	const ports = "ignore_port_in_host_matching"
	if config.text(ports) != "true" && m.text("strip_any_host_port") != "true" {
		if err := portless(hosts); err != nil {
			return err
		}
		if there := config.get(ports); there.there() {
			p.note(there.Line, "%s was %s", ports, short(there.Value))
			if err := p.replace(there, ports, "true"); err != nil {
				return err
			}
		} else {
			one, err := member(ports, "true")
			if err != nil {
				return err
			}
			missing = append(missing, one.says("# A host is the same on any port."))
		}
	}
	return p.addMembers(config, config.index("virtual_hosts"), missing)
}

// portless wants each host that has a port to be there without it, too: the one
// with it is nobody's any more.
func portless(hosts []spot) error {
	for _, h := range hosts {
		var all []string
		for _, d := range h.get("domains").items() {
			all = append(all, d.Value)
		}
		for _, d := range h.get("domains").items() {
			at := strings.LastIndexByte(d.Value, ':')
			if at < 0 || strings.HasSuffix(d.Value, "]") {
				continue
			}
			if name := d.Value[:at]; !slices.Contains(all, name) {
				return refuse(d.Line, fmt.Sprintf("the domain %q has a port, and athd's routes need ports to be ignored", d.Value), fmt.Sprintf("write %q beside it", name))
			}
		}
	}
	return nil
}

// answering returns the virtual host to which a host of athd's belongs; none:
// it needs one of its own.
func (p *plan) answering(hosts []spot, h host) (spot, error) {
	public := ath.RequestedHostOf(p.config.Parts.PublicURL).String()
	name, agents := h.domain, h.domain == public
	if ath.RequestedHostOf(p.config.Parts.ConsentURL).String() == h.domain && !agents {
		if there, how := best(hosts, name); how == exactly {
			return spot{}, refuse(there.Line, fmt.Sprintf("the virtual host %q has the domain %q, which the consent pages share with nothing", there.text("name"), name),
				"take the domain out of it, or choose another consent_url")
		}
		return spot{}, nil
	}
	if name == envoy.AnyHost {
		if slices.ContainsFunc(p.parts.hosts, func(other host) bool { return other.domain == public }) {
			if len(h.apps()) == 0 {
				return spot{}, nil
			}
		} else {
			name, agents = public, true
		}
	}
	if want := p.config.VirtualHost; want != "" && agents {
		if there := named(hosts, want); there.there() {
			return there, nil
		}
		return spot{}, refuse(0, fmt.Sprintf("there is no virtual host %q", want), "name one of "+hostNames(hosts))
	}
	there, how := best(hosts, name)
	switch {
	case h.domain == envoy.AnyHost && how == 0:
		return spot{}, refuse(hosts[0].Line, fmt.Sprintf("no virtual host answers %q", name), "name one by --virtual-host, of "+hostNames(hosts)+", or add one")
	case how == 0, how < exactly && h.whole() && h.domain != envoy.AnyHost:
		return spot{}, nil
	}
	return there, nil
}

// best returns the virtual host that Envoy takes for a host, and how well it
// fits.
func best(hosts []spot, host string) (spot, int) {
	var out spot
	how := 0
	for _, h := range hosts {
		for _, d := range h.get("domains").items() {
			if n := specific(d.Value, host); n > how {
				out, how = h, n
			}
		}
	}
	return out, how
}

func hostNames(hosts []spot) string {
	var out []string
	for _, h := range hosts {
		out = append(out, fmt.Sprintf("%q (line %d)", cmp.Or(h.text("name"), "without a name"), h.Line))
	}
	return strings.Join(out, ", ")
}

// apps are its routes to apps in native mode.
func (h host) apps() []piece {
	return slices.DeleteFunc(slices.Clone(h.routes), func(r piece) bool { return !strings.HasPrefix(nameOf(r), "app_") })
}

// whole reports whether an app has all paths of the host.
func (h host) whole() bool {
	return slices.ContainsFunc(h.apps(), func(r piece) bool { return (spot{Node: r.value}).text("match", "prefix") == "/" })
}

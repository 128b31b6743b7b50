package into

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/ath"
)

const (
	routerFilter = "envoy.filters.http.router"
	corsFilter   = "envoy.filters.http.cors"
)

// filters adds athd's before the router, behind all that are there: those may
// change what they like, since it is judged as they leave it.
func (p *plan) filters(m *manager) error {
	list := m.get("http_filters")
	if !list.there() {
		return refuse(m.Line, fmt.Sprintf("%q has no http_filters", m.label()), "see what envoy --mode validate says of it")
	}
	if err := list.list("http_filters"); err != nil {
		return err
	}
	all := list.items()
	last := len(all) - 1
	router := all[last]
	if !router.is("router.v3.Router") && router.text("name") != routerFilter {
		return refuse(router.Line, "the last of http_filters is no router", "see what envoy --mode validate says of it")
	}
	ours := p.parts.filters
	for _, f := range all[:last] {
		name := f.text("name")
		switch {
		case f.is("cors.v3.Cors") && name == corsFilter:
			ours = slices.DeleteFunc(slices.Clone(ours), func(one piece) bool { return nameOf(one) == corsFilter })
		case f.is("ext_authz.v3.ExtAuthz"):
			next := "give agents a listener of their own: an answer to one check writes over what another one said"
			if strings.HasPrefix(f.text("typed_config", "grpc_service", "envoy_grpc", "cluster_name"), "athd") {
				next = "remove what was pasted of athd's parts by hand"
			}
			return refuse(f.Line, "there is an ext_authz filter, not between athd's marks", next)
		case slices.ContainsFunc(ours, func(one piece) bool { return nameOf(one) == name }):
			return refuse(f.Line, fmt.Sprintf("there is a filter %q, and athd's has this name, too: what a route says to one it would say to both", name),
				"give yours another name, here and in typed_per_filter_config: Envoy knows it by its @type")
		default:
			p.beforeCheck(f)
		}
	}
	if err := p.addItems(list, last, ours); err != nil {
		return err
	}
	return p.suppress(router)
}

func nameOf(one piece) string { return (spot{Node: one.value}).text("name") }

// beforeCheck says what a filter before the check does to agents.
func (p *plan) beforeCheck(f spot) {
	for _, kind := range []string{"jwt_authn.v3.JwtAuthentication", "oauth2.v3.OAuth2", "basic_auth.v3.BasicAuth", "api_key_auth.v3.ApiKeyAuth"} {
		if f.is(kind) {
			p.note(f.Line, "%q stands before athd's check and wants credentials that agents do not have: let it pass what begins with %s/ or %s, and the paths of your API", f.text("name"), ath.PathRoot, ath.DiscoveryRoot)
		}
	}
}

// suppress lets the router tell no API what Envoy's own headers would.
func (p *plan) suppress(router spot) error {
	const what, name, value = "the router's typed_config", "suppress_envoy_headers", "true"
	config := router.get("typed_config")
	if !config.there() {
		return refuse(router.Line, "the router has no typed_config", "add one with its @type, as Envoy wants it")
	}
	if there := config.get(name); there.there() {
		if there.Value == value {
			return nil
		}
		p.note(there.Line, "%s was %s", name, short(there.Value))
		return p.replace(there, what, value)
	}
	if config.Style&yaml.FlowStyle != 0 {
		return p.addShort(config, what, name+": "+value)
	}
	if err := config.object(what); err != nil {
		return err
	}
	one, err := member(name, value)
	if err != nil {
		return err
	}
	return p.addMembers(config, after(config, "@type"), []piece{one.says("# What x-envoy-* headers would tell is nobody's business.")})
}

// after is the index behind a member, or of the first one.
func after(object spot, name string) int {
	if i := object.index(name); i >= 0 {
		return i + 2
	}
	return 0
}

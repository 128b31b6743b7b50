package bootstrap

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/athd/athd/ath"
)

// consentRoute names the virtual host of the consent pages, and its one route.
const consentRoute = "consent"

// consentHost returns the name of the host that only the consent pages have,
// or "" where they share public_url's.
func (c Config) consentHost() string {
	host := ath.RequestedHostOf(c.ConsentURL)
	if host == ath.RequestedHostOf(c.PublicURL) {
		return ""
	}
	return host.String()
}

// consentHost has the pages on which users consent and nothing else: no app,
// no provider, no token endpoint. What stands on one origin with them could
// read them and press their buttons.
func (g *generator) consentHost(host string) *routev3.VirtualHost {
	var routes []*routev3.Route
	if g.keepsEscapedSlashes() {
		routes = append(routes, g.escapedCompanion())
	}
	routes = append(routes, g.companion(consentRoute, pathRegex(companionPattern(ath.OnConsent))), g.nothing())
	return &routev3.VirtualHost{Name: consentRoute, Domains: []string{host}, Routes: routes}
}

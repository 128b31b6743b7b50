package envoy

import (
	"fmt"
	"net/url"
	"slices"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// Upstream is where a provider's requests go.
func Upstream(p *provider.Provider) *url.URL {
	if p.App != nil && p.App.Upstream != nil {
		return p.App.Upstream
	}
	return p.APIBase
}

// AnyHost is Envoy's domain for whatever no other virtual host names.
const AnyHost = "*"

// Domains returns the hosts of an app as Envoy's virtual hosts want them: in
// lower case, without a port (which is ignored in requests too), an IPv6 address
// in brackets.
func Domains(app *provider.App) []string {
	hosts := app.RoutedHosts()
	if len(hosts) == 0 {
		return []string{AnyHost}
	}
	out := make([]string, len(hosts))
	for i, h := range hosts {
		out[i] = h.String()
	}
	slices.Sort(out)
	return out
}

// CompanionPaths are the paths that Envoy leads to athd's companion, of those
// that where wants.
func CompanionPaths(where func(ath.Path) bool) []ath.Path {
	return slices.DeleteFunc(ath.Paths(), func(p ath.Path) bool { return !p.Companion() || !where(p) })
}

// Quote writes a name from a dump so that it cannot steer a terminal.
func Quote(name string) string {
	if len(name) > 200 {
		name = name[:200]
	}
	return fmt.Sprintf("%q", name)
}

package authz

import (
	"cmp"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// places finds a request's provider by host and path, as the routes of the
// generated configuration do: for meshes whose routes name no provider, and for
// Explain.
type places struct {
	providers *provider.Set
	consent   ath.Host                          // leads to no provider; the zero Host: none
	apps      map[ath.Host][]*provider.Provider // by host without port, the longest path prefix first; the zero Host: any
}

func newPlaces(set *provider.Set, consent ath.Host) places {
	p := places{providers: set, consent: consent, apps: map[ath.Host][]*provider.Provider{}}
	for _, app := range set.Apps() {
		for _, host := range hostsOf(app) {
			p.apps[host] = append(p.apps[host], app)
		}
	}
	for _, apps := range p.apps {
		slices.SortStableFunc(apps, func(a, b *provider.Provider) int {
			return cmp.Compare(len(b.App.PathPrefix), len(a.App.PathPrefix))
		})
	}
	return p
}

// find returns the provider's id and its mount, or "". The path is compared as it
// is written: one that another server could read as another path is refused by
// targetCanonical, whatever it finds here.
func (p places) find(host, target string) (id, mount string) {
	asked := ath.RequestedHost(host)
	if !asked.IsZero() && asked == p.consent {
		return "", ""
	}
	path, _, _ := strings.Cut(target, "?")
	if rest, ok := strings.CutPrefix(path, ath.ProxyPath); ok {
		name, _, mounted := strings.Cut(rest, "/")
		known := p.providers.Get(name)
		if !mounted || known == nil || known.Runtime { // to which no route of a mesh leads
			return "", ""
		}
		return known.ID, ath.ProxyPath + name + "/"
	}
	if _, athd := companionPath(path, true); athd || within(path, ath.PathRoot) {
		return "", ""
	}
	apps, known := p.apps[asked]
	if !known {
		apps = p.apps[ath.Host{}]
	}
	for _, app := range apps {
		if within(path, app.App.PathPrefix) {
			return app.ID, ""
		}
	}
	return "", ""
}

// within reports whether path is prefix or below it, in whole segments.
func within(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// hostsOf returns an app's hosts; the zero Host for any.
func hostsOf(p *provider.Provider) []ath.Host {
	if hosts := p.App.RoutedHosts(); len(hosts) > 0 {
		return hosts
	}
	return []ath.Host{{}}
}

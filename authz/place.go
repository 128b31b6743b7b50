package authz

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/athd/athd/provider"
)

// mountPrefix is where gateway mode begins: /ath/proxy/{id}/{path}.
const mountPrefix = "/ath/proxy/"

// places tells by host and path where a request leads, as the generated
// configuration's routes do: for meshes whose routes name no provider, and
// for explaining.
type places struct {
	providers *provider.Set
	apps      map[string][]*provider.Provider // by host, the longest path prefix first; "": any host
}

func newPlaces(set *provider.Set) places {
	p := places{providers: set, apps: map[string][]*provider.Provider{}}
	for _, app := range set.Apps() {
		for _, host := range appHosts(app) {
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

// find returns the provider's id and its mount, or nothing. The path is taken
// as it is written: one that another reader would take for another place is
// refused by targetCanonical, whatever it finds here.
func (p places) find(host, target string) (id, mount string) {
	path, _, _ := strings.Cut(target, "?")
	if rest, ok := strings.CutPrefix(path, mountPrefix); ok {
		name, _, mounted := strings.Cut(rest, "/")
		known := p.providers.Get(name)
		if !mounted || known == nil {
			return "", ""
		}
		return known.ID, mountPrefix + name + "/"
	}
	if within(path, "/ath") || isCompanion(pathSegments(path)) {
		return "", "" // the handshake's own
	}
	apps, known := p.apps[hostname(host)]
	if !known {
		apps = p.apps[""]
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

// appHosts returns the names of an app's hosts without ports, "" for any.
func appHosts(p *provider.Provider) []string {
	if len(p.App.Hosts) == 0 {
		return []string{""}
	}
	hosts := make([]string, len(p.App.Hosts))
	for i, h := range p.App.Hosts {
		hosts[i] = hostname(h)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// hostname returns the name in a host that may carry a port, in lower case
// and without the dot of the root. Two hosts that Envoy has joined with a comma
// are a name that nobody has.
func hostname(host string) string {
	name := (&url.URL{Host: strings.ToLower(host)}).Hostname()
	if name = strings.TrimSuffix(name, "."); name == "" {
		return "."
	}
	return name
}

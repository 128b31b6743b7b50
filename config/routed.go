package config

import (
	"net/url"
	"reflect"
	"slices"

	"github.com/athd/athd/provider"
)

// Routes are the providers to which Envoy is taken to have routes, by each of their
// names: what it leads to stays as it was told first, until athd starts anew.
type Routes map[string]*provider.Provider

// Add adds providers where nobody has the name yet. An athd starts with those of its
// files; in a mesh, whose routes are not athd's, some come while it runs.
func (r Routes) Add(set *provider.Set) {
	for _, p := range set.All() {
		for _, name := range append([]string{p.ID}, p.Aliases...) {
			if r[name] == nil {
				r[name] = p
			}
		}
	}
}

// routedParts are the parts of a provider that Envoy's generated configuration
// holds, by the keys that say them. The rest of a provider is athd's alone. A test
// changes every other field, and sees that Envoy's configuration stays the same.
func routedParts(p *provider.Provider) []routedPart {
	api := p.APIBase
	if api == nil {
		api = &url.URL{}
	}
	parts := []routedPart{
		{"aliases", p.Aliases},
		{"allow_encoded_slash", p.EncodedSlash},
		{"retry_on_401", p.RetryOn401},
		{"native mode", p.App != nil},
	}
	if p.App == nil {
		return append(parts, routedPart{"api_base_url", api.String()})
	}
	var hosts []string
	for _, h := range p.App.Hosts {
		hosts = append(hosts, h.String())
	}
	upstream := p.App.Upstream
	if upstream == nil {
		upstream = &url.URL{}
	}
	return append(parts,
		routedPart{"upstream", [2]string{api.String(), upstream.String()}},
		routedPart{"hosts", hosts},
		routedPart{"path_prefix", p.App.PathPrefix},
		routedPart{"audience", p.App.Audience},
		routedPart{"unauthenticated", p.App.Passthrough},
	)
}

type routedPart struct {
	key   string
	value any
}

// routed returns the keys of the parts in which a provider is not as Envoy's
// configuration knows it. was is nil where that does not know it at all.
func routed(was, is *provider.Provider) []string {
	if was == nil || was.ID != is.ID {
		return []string{"no route for it"}
	}
	before, after := routedParts(was), routedParts(is)
	if len(before) != len(after) {
		return []string{"its kind"}
	}
	var keys []string
	for i := range after {
		if !reflect.DeepEqual(before[i], after[i]) {
			keys = append(keys, after[i].key)
		}
	}
	return slices.Compact(keys)
}

package authz

import (
	"time"

	"github.com/athd/athd/provider"
	"github.com/athd/athd/vault"
)

// A snapshot is a set of providers and everything that decisions derive from
// it. It is made once for a set, and a decision is made on one snapshot from
// its beginning to its event, also while another one takes its place.
type snapshot struct {
	set            *provider.Set
	places         places
	destinations   map[string]string // provider.Destination, by id
	exclusiveHosts map[string]bool   // apps that share no host with one that requires a token, by id; see passesThrough
	hints          map[string]*hint
	soon           map[string]time.Duration // before its end, an upstream token is refreshed in the background, by id
}

func newSnapshot(c *Config, set *provider.Set) *snapshot {
	s := &snapshot{
		set: set, places: newPlaces(set, c.ConsentHost), destinations: map[string]string{},
		exclusiveHosts: appsWithOwnHosts(set), hints: newHints(c.PublicURL, set),
		soon: map[string]time.Duration{},
	}
	for _, p := range set.All() {
		s.destinations[p.ID] = p.Destination()
		s.soon[p.ID] = p.MaxMargin() + vault.Lately
	}
	return s
}

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
	derived        provider.Table[*derived] // by id
	exclusiveHosts map[string]bool          // apps that share no host with one that requires a token, by id; see passesThrough
	hints          map[string]*hint
	denials        *denials   // of the policy
	calls          *callTable // nil: nobody counts
}

// derived is what decisions derive from one provider.
type derived struct {
	destination string        // provider.Destination
	bound       string        // provider.Bound
	soon        time.Duration // before its end, an upstream token is refreshed in the background
	base        Target        // of a run-time provider: where its requests go, with the base path alone
}

// newSnapshot keeps what before has of the providers that are the same in both:
// of ten thousand, a change at run time is of one.
func newSnapshot(c *Config, set *provider.Set, before *snapshot) *snapshot {
	if before == nil {
		before = &snapshot{}
	}
	s := &snapshot{
		set: set, places: newPlaces(set, c.ConsentHost),
		exclusiveHosts: appsWithOwnHosts(set), hints: newHints(c.PublicURL, set),
	}
	now := before.derived.Edit()
	gone, come := provider.Diff(before.set, set)
	for _, p := range gone {
		now.Delete(p.ID)
	}
	for _, p := range come {
		now.Set(p.ID, &derived{destination: p.Destination(), bound: p.Bound(), soon: p.MaxMargin() + vault.Lately, base: baseOf(p)})
	}
	s.derived = now.Table()
	return s
}

var nothingDerived = &derived{}

// of returns what is derived of a provider of the set.
func (s *snapshot) of(p *provider.Provider) *derived {
	if d, known := s.derived.Get(p.ID); known {
		return d
	}
	return nothingDerived
}

package watch

import (
	"slices"
	"time"

	"github.com/athd/athd/ath"
)

// A Seen is a call under watch, as operators are told of it.
type Seen struct {
	Decision, Agent, Provider, Scope string
	Connection                       ath.Tag
	Since, Until                     time.Time
}

// List returns the calls under watch, of one agent where it is named: the newest first,
// and no more than most of them. all says how many there are.
func (r *Registry) List(agent string, most int) (seen []Seen, all int) {
	r.mu.Lock()
	streams := slices.Clone(r.ends)
	r.mu.Unlock()
	if agent != "" { // that and since when do not change while a call is watched
		streams = slices.DeleteFunc(streams, func(s *Stream) bool { return s.held.Agent != agent })
	}
	all = len(streams)
	slices.SortFunc(streams, func(a, b *Stream) int { return b.since.Compare(a.since) })
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range streams[:min(most, all)] {
		seen = append(seen, Seen{
			Decision: s.decision, Agent: s.held.Agent, Provider: s.held.Provider, Scope: s.held.Scope,
			Connection: s.held.Tag, Since: s.since, Until: s.until,
		})
	}
	return seen, all
}

package watch

import (
	"github.com/athd/athd/ath"
)

// By what a stream is found. Grants and renewals carry the tag of their connection.
const (
	byGrant = iota
	byConnection
	byAgent
	byProvider
	indexes
)

// A group is the streams that have one thing in common, as a list through them, so
// that a stream costs no table of its own.
type group struct {
	first *Stream
	n     int
	name  string // of an agent or provider, which all of them share
}

// A link is a stream's place in one group.
type link struct {
	of         *group
	prev, next *Stream
}

// An index has the groups of all streams. It is guarded by the registry.
type index struct {
	grants      map[ath.Digest]*group
	connections map[ath.Tag]*group
	agents      map[ath.Tag]*group
	providers   map[string]*group
}

func newIndex() index {
	return index{map[ath.Digest]*group{}, map[ath.Tag]*group{}, map[ath.Tag]*group{}, map[string]*group{}}
}

// grouped returns the group of a key, and makes one.
func grouped[K comparable](all map[K]*group, key K, name string) *group {
	g := all[key]
	if g == nil {
		g = &group{name: name}
		all[key] = g
	}
	return g
}

// dropEmpty forgets a group that has no stream any more.
func dropEmpty[K comparable](all map[K]*group, key K) {
	if g := all[key]; g != nil && g.n == 0 {
		delete(all, key)
	}
}

// count is how many streams have something in common.
func count[K comparable](all map[K]*group, key K) int {
	if g := all[key]; g != nil {
		return g.n
	}
	return 0
}

func (x *index) add(s *Stream) {
	agent := grouped(x.agents, s.agentTag, s.held.Agent)
	provider := grouped(x.providers, s.held.Provider, s.held.Provider)
	s.held.Agent, s.held.Provider = agent.name, provider.name
	for i, g := range [indexes]*group{
		byGrant:      grouped(x.grants, s.held.Grant, ""),
		byConnection: grouped(x.connections, s.held.Tag, ""),
		byAgent:      agent,
		byProvider:   provider,
	} {
		s.links[i] = link{of: g, next: g.first}
		if g.first != nil {
			g.first.links[i].prev = s
		}
		g.first = s
		g.n++
	}
}

func (x *index) remove(s *Stream) {
	for i := range s.links {
		l := &s.links[i]
		if l.prev != nil {
			l.prev.links[i].next = l.next
		} else {
			l.of.first = l.next
		}
		if l.next != nil {
			l.next.links[i].prev = l.prev
		}
		l.of.n--
		*l = link{}
	}
	dropEmpty(x.grants, s.held.Grant)
	dropEmpty(x.connections, s.held.Tag)
	dropEmpty(x.agents, s.agentTag)
	dropEmpty(x.providers, s.held.Provider)
}

// each calls do with each stream of a group; do may not add or remove any.
func (g *group) each(i int, do func(*Stream)) {
	if g == nil {
		return
	}
	for s := g.first; s != nil; s = s.links[i].next {
		do(s)
	}
}

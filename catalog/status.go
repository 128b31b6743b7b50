package catalog

import (
	"slices"

	"github.com/athd/athd/tokenstore"
)

// maxNamed is how many ids a [Status] names of a kind.
const maxNamed = 5

// A Status says how the run-time providers do.
type Status struct {
	Loaded     bool // they were read since athd started
	Active     int  // they serve
	Generation uint64
	// Left is how many connections are yet to be ended, or revoked, of those that drain.
	Left int

	Unreadable, Shadowed, Draining Named
}

// Named is how many there are, and the ids of some.
type Named struct {
	N   int
	IDs []string // "": of a record that does not open
}

// Status says how the run-time providers do on this athd.
func (k *Catalog) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Status{Loaded: k.loaded}
	count := func(n *Named, id string) {
		n.N++
		n.IDs = append(n.IDs, id)
	}
	for _, e := range k.entries {
		s.Generation = max(s.Generation, e.Generation)
		switch {
		case e.State == tokenstore.ProviderDraining:
			count(&s.Draining, e.ID)
			s.Left += e.Left
		case e.Err != nil:
			count(&s.Unreadable, e.ID)
		case e.Shadowed:
			count(&s.Shadowed, e.ID)
		default:
			s.Active++
		}
	}
	for _, n := range []*Named{&s.Unreadable, &s.Shadowed, &s.Draining} {
		slices.Sort(n.IDs)
		n.IDs = n.IDs[:min(len(n.IDs), maxNamed)]
	}
	return s
}

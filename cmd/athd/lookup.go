package main

import (
	"maps"
	"sync/atomic"
)

// A lookup remembers what belongs to a key, for a few keys that are asked for
// very often: it takes no lock to read, and is copied when a key is new. The zero
// lookup is empty.
type lookup[K comparable, V any] struct {
	known atomic.Pointer[map[K]V] // never changed, only replaced
}

// get returns what belongs to key, made by make if it is not known yet, which
// may be more than once.
func (l *lookup[K, V]) get(key K, make func(K) V) V {
	known := l.known.Load()
	if known != nil {
		if v, there := (*known)[key]; there {
			return v
		}
	}
	v, more := make(key), map[K]V{}
	if known != nil {
		more = maps.Clone(*known)
	}
	more[key] = v
	l.known.CompareAndSwap(known, &more) // if another was quicker, a later call remembers
	return v
}

package provider

import (
	"sync"
	"sync/atomic"
)

// Providers is the [Set] that holds now. It can be replaced as a whole while
// requests are served. Whoever asks more than once about one request takes the
// set once: a set never changes, also when another one has taken its place. A
// nil Providers holds no provider.
type Providers struct {
	current atomic.Pointer[Set]

	mu   sync.Mutex // held while a set is replaced
	each []func(*Set)
}

// NewProviders returns a Providers that holds this set.
func NewProviders(set *Set) *Providers {
	p := &Providers{}
	p.current.Store(set)
	return p
}

// Current returns the set that holds now. It costs one atomic load.
func (p *Providers) Current() *Set {
	if p == nil {
		return nil
	}
	return p.current.Load()
}

// Each calls f with the set that holds now, and with each set that takes its
// place, before it does: for what is derived from a set once and not at each
// request. f must not call a method of p but Current.
func (p *Providers) Each(f func(*Set)) {
	if p == nil {
		f(nil)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p.current.Load())
	p.each = append(p.each, f)
}

// Replace puts another set in place of the one that holds now. When it returns,
// everybody whom [Providers.Each] told has the new one: a provider that is not
// in it is refused from then on. nil is a set of no provider.
func (p *Providers) Replace(set *Set) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.each {
		f(set)
	}
	p.current.Store(set)
}

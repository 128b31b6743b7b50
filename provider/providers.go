package provider

import (
	"sync"
	"sync/atomic"
)

// Providers is the current [Set]. It can be replaced as a whole while requests are
// served. Code that needs more than one answer about a request loads the set once:
// a set never changes, also after it was replaced. A nil Providers has no provider.
type Providers struct {
	current atomic.Pointer[Set]

	mu   sync.Mutex // held while a set is replaced
	each []func(*Set)
}

// NewProviders returns a Providers with this set.
func NewProviders(set *Set) *Providers {
	p := &Providers{}
	p.current.Store(set)
	return p
}

// Current returns the current set. It costs one atomic load.
func (p *Providers) Current() *Set {
	if p == nil {
		return nil
	}
	return p.current.Load()
}

// Each calls f with the current set, and with each later set before it becomes
// current: for what is derived once per set and not per request. f must not call a
// method of p but Current.
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

// Replace makes another set the current one. When it returns, each function that was
// given to [Providers.Each] has been called with it: a provider that is not in the
// set is refused from then on. nil is a set of no provider.
func (p *Providers) Replace(set *Set) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.each {
		f(set)
	}
	p.current.Store(set)
}

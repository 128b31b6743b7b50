package main

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/athd/athd/provider"
)

const (
	// labelledProviders is how many run-time providers have labels of their own in the
	// metrics, the first that this athd has seen: each is some fifty series.
	labelledProviders = 50
	// otherProviders is the label of all others. No provider can have the name (O-2).
	otherProviders = "(runtime)"
)

// providerLabels give providers their labels: those of the files have their own, and
// so do the first run-time ones.
type providerLabels struct {
	providers *provider.Providers

	mu    sync.Mutex
	named atomic.Pointer[map[string]bool] // run-time providers with labels of their own; never changed, only replaced
	other bool                            // the label of all others was returned by add
}

// add gives labels to providers that came, and returns those that are new.
func (l *providerLabels) add(come []*provider.Provider) (labels []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	named := map[string]bool{}
	if known := l.named.Load(); known != nil {
		named = *known
	}
	var more []string
	for _, p := range come {
		switch {
		case !p.Runtime:
			labels = append(labels, p.ID)
		case named[p.ID]:
		case len(named)+len(more) < labelledProviders:
			more = append(more, p.ID)
		case !l.other:
			l.other = true
			labels = append(labels, otherProviders)
		}
	}
	if len(more) > 0 {
		next := maps.Clone(named)
		for _, id := range more {
			next[id] = true
		}
		l.named.Store(&next)
	}
	return append(labels, more...)
}

// of returns a provider's label; what is no run-time provider is its own.
func (l *providerLabels) of(id string) string {
	if named := l.named.Load(); named != nil && (*named)[id] {
		return id
	}
	if p := l.providers.Current().Get(id); p != nil && p.Runtime {
		return otherProviders
	}
	return id
}

package vault

import (
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// shutAfter is how many calls in a row must get no tokens for reasons of the
	// provider's before it is left alone for a while.
	shutAfter   = 3
	shutAtFirst = time.Second
	shutAtMost  = 15 * time.Second
)

// gates are one for each provider.
type gates struct {
	mu sync.Mutex
	by map[string]*gate
}

func (g *gates) of(provider string) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.by == nil {
		g.by = map[string]*gate{}
	}
	if g.by[provider] == nil {
		g.by[provider] = &gate{}
	}
	return g.by[provider]
}

func (g *gates) shut(now time.Time) map[string]bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := map[string]bool{}
	for provider, gate := range g.by {
		out[provider] = gate.shut(now)
	}
	return out
}

// A gate bounds the calls to one provider: how many there are at a time, and,
// after failures that are the provider's and not one connection's, when there is
// the next. The zero gate is open.
type gate struct {
	mu       sync.Mutex
	inFlight int
	failures int       // in a row
	until    time.Time // nobody passes before
	probing  bool      // one passes alone, to see
}

// An admission says whether a call may be made now.
type admission int

const (
	admitted admission = iota
	shut               // the provider is left alone
	busy               // there are as many calls as there may be
)

func (g *gate) enter(now time.Time) admission {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failures >= shutAfter {
		if g.probing || now.Before(g.until) {
			return shut
		}
		g.probing = true
	}
	if g.inFlight >= maxCalls {
		g.probing = false
		return busy
	}
	g.inFlight++
	return admitted
}

// leave ends what enter admitted, without a word on the provider.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	g.probing = false
}

func (g *gate) succeeded() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures = 0
}

func (g *gate) failed(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failures >= shutAfter && now.Before(g.until) {
		return // it was made before the gate was shut
	}
	if g.failures++; g.failures >= shutAfter {
		g.until = now.Add(jitter(growing(shutAtFirst, shutAtMost, g.failures-shutAfter)))
	}
}

func (g *gate) shut(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failures >= shutAfter && now.Before(g.until)
}

// left is how long nobody passes.
func (g *gate) left(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failures < shutAfter {
		return 0
	}
	return max(0, g.until.Sub(now))
}

// growing doubles a pause n times, up to most.
func growing(pause, most time.Duration, n int) time.Duration {
	for ; n > 0 && pause < most; n-- {
		pause *= 2
	}
	return min(pause, most)
}

// jitter shortens a time by up to a quarter, so that replicas do not act at once.
func jitter(d time.Duration) time.Duration { return d - time.Duration(rand.Int64N(int64(d)/4+1)) }

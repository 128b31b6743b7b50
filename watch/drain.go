package watch

import (
	"context"
	"time"
)

// step is how often some calls end while athd drains.
const step = 50 * time.Millisecond

// Drain takes nothing more under watch, and lets go of what is: where calls are to be
// kept all at once, else by and by within a time, so that not all agents come back at
// the same moment. It returns when nothing is left, or ctx has ended.
func (r *Registry) Drain(ctx context.Context, within time.Duration) {
	r.mu.Lock()
	r.draining = true
	if r.keep {
		within = 0
	}
	steps := max(1, int(within/step))
	some := (len(r.ends) + steps - 1) / steps
	r.mu.Unlock()
	for r.endSome(some) {
		select {
		case <-ctx.Done():
			r.endSome(r.Len())
		case <-time.After(step):
		}
	}
}

// endSome ends some calls, and reports whether there are more.
func (r *Registry) endSome(some int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for range min(some, len(r.ends)) {
		r.end(r.ends[len(r.ends)-1], r.stopping(), now)
	}
	return len(r.ends) > 0
}

package authz

import (
	"fmt"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ratelimit"
)

// A consent is whose calls count together: what one user allowed one agent at one
// provider. All tokens of it share a bucket, else an agent whose consent stands
// would get a new one with each renewal.
type consent struct {
	connection ath.Tag
	client     string // agents may share a connection
}

type callTable = ratelimit.Table[consent]

// newCalls returns before itself where its rate is the same, so that what was counted
// stays; nil: nobody counts.
func newCalls(r ratelimit.Rate, before *callTable) *callTable {
	if r == ratelimit.Unlimited || r == (ratelimit.Rate{}) {
		return nil
	}
	return before.At(r, ratelimit.ForgetOldest)
}

// LimitCalls has decisions from now on count the calls of each grant at another
// rate. By one that stays the same, nobody gets more than it allows. The zero Rate
// counts nothing.
func (d *Decider) LimitCalls(r ratelimit.Rate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := *d.snapshot.Load()
	next.calls = newCalls(r, next.calls)
	d.snapshot.Store(&next)
}

func (q *evaluation) consent() consent {
	g := q.reading.Grant
	return consent{g.Connection, g.ClientID}
}

// callsLeft is the last rule: only calls that would pass are counted, so that
// nobody without a grant occupies or uses up anything here.
func (q *evaluation) callsLeft() Reason {
	if q.calls == nil {
		return ""
	}
	if q.explains {
		if q.calls.Left(q.consent(), q.now) < 1 {
			return RateLimited
		}
		return ""
	}
	if wait := q.calls.Take(q.consent(), q.now); wait > 0 {
		q.decision.RetryAfter = wait
		return RateLimited
	}
	return ""
}

func (q *evaluation) describeCalls() string {
	if q.calls == nil {
		return "limits.calls_per_grant is off"
	}
	return fmt.Sprintf("%d of %s left at this athd; each athd counts for itself", q.calls.Left(q.consent(), q.now), q.calls.Rate())
}

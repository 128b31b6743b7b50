package watch

import (
	"net/http"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
)

// Limits bound how many calls this replica has under watch at once. The zero Limits
// allow none.
type Limits struct {
	PerGrant, PerAgent, Total int
}

// DefaultLimits are far more than agents at work have, and 8,000 streams are some
// 120 MiB, 190 at most.
func DefaultLimits() Limits { return Limits{PerGrant: 64, PerAgent: 1024, Total: 8000} }

// The names of the limits, which are the metric's labels.
const (
	limitPerGrant = "per_grant"
	limitPerAgent = "per_agent"
	limitTotal    = "total"
)

// LimitNames lists them.
func LimitNames() []string { return []string{limitPerGrant, limitPerAgent, limitTotal} }

// A Refusal is why a call was not taken under watch. It is what the agent is answered.
type Refusal struct {
	Reason   Reason // of [authz.Decider.Holds], Draining or TooManyStreams
	Limit    string // of TooManyStreams: the limit that is reached
	Decision string
}

// TooManyStreams is why a limit refuses a call.
const TooManyStreams Reason = "too_many_streams"

func (r *Refusal) Error() string { return "the call is not watched: " + string(r.Reason) }

// Reply is what the agent is answered: 429 where a limit is reached, 503 where nobody
// can say now, else what a new request would be.
func (r *Refusal) Reply() *ath.Error {
	switch r.Reason {
	case TooManyStreams:
		return ath.Errorf(ath.RateLimited, "Too many streams are open at once; end one, or try again later.").
			WithDetail("reason", string(TooManyStreams)).WithDetail("limit", r.Limit).WithDetail("decision_id", r.Decision)
	case Draining, Released:
		return authz.Holding{Reason: authz.StoreUnavailable}.Refusal(r.Decision)
	}
	return authz.Holding{Reason: authz.Reason(r.Reason)}.Refusal(r.Decision)
}

// RetryAfter is in seconds; 0: to try again is of no use.
func (r *Refusal) RetryAfter() int {
	switch r.Reply().Status() {
	case http.StatusTooManyRequests:
		return 10
	case http.StatusServiceUnavailable:
		return 1
	}
	return 0
}

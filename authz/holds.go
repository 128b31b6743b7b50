package authz

import (
	"context"
	"fmt"
	"time"

	"github.com/athd/athd/ath"
)

// A Holding is whether a call that was allowed may go on. The zero Holding refuses.
type Holding struct {
	Reason Reason    // Allowed, or why not
	Until  time.Time // where it holds: the end of grant or approval as they are now, whichever comes first
	User   string    // of the grant, once it was read
}

// Holds reports whether the call may go on.
func (h Holding) Holds() bool { return h.Reason == Allowed }

// Refusal is what the agent is answered where the call does not hold (E-1).
func (h Holding) Refusal(decisionID string) *ath.Error {
	if h.Holds() {
		return nil
	}
	return refusal(h.Reason).WithDetail("decision_id", decisionID)
}

// Temporary reports whether the call is not known to have lost anything: nobody
// could be asked.
func (h Holding) Temporary() bool {
	return h.Reason == StoreUnavailable || h.Reason == ProviderUnavailable
}

// Holds judges a call that was allowed once more, by those rules of [Decider.Decide]
// that are not about the head of the request: grant, agent, approvals, the policy's
// rules that deny, connection, provider, and the rules of the scope. It reads the
// store once, and nothing is recorded. It never panics: what would, refuses.
func (d *Decider) Holds(ctx context.Context, held Held) Holding {
	_, holding := d.evaluateHeld(ctx, &held)
	return holding
}

// evaluateHeld returns what it has read beside.
func (d *Decider) evaluateHeld(ctx context.Context, held *Held) (q *evaluation, holding Holding) {
	q = &evaluation{
		Config: &d.config, snapshot: d.snapshot.Load(), ctx: ctx, now: d.config.Now(), held: held,
		request: Request{Provider: held.Provider, Runtime: held.Runtime, AgentID: []string{held.Agent}},
	}
	defer func() {
		if p := recover(); p != nil {
			d.config.Logger.ErrorContext(ctx, "rule panicked", "panic", fmt.Sprintf("%T", p))
			holding = Holding{Reason: InternalError}
		}
	}()
	if held.IsZero() {
		return q, Holding{Reason: InternalError}
	}
	q.provider = q.set.Get(held.Provider)
	for _, rule := range d.rules {
		if rule.holds == nil {
			continue
		}
		if reason := rule.holds(q); reason != "" {
			return q, Holding{Reason: reason, User: q.decision.User}
		}
	}
	until := q.reading.Grant.Expires
	if approved := q.reading.Agent.ApprovalExpires; approved.Before(until) {
		until = approved
	}
	return q, Holding{Reason: Allowed, Until: until, User: q.reading.Grant.User}
}

// readHeld reads what read does, by the token's digest.
func (q *evaluation) readHeld() Reason {
	if q.Held == nil {
		return InternalError
	}
	reading, err := q.Held.ReadHeld(q.ctx, q.held.Tag, q.held.Grant, q.held.Agent)
	if reason := q.readFailed(err); reason != "" {
		return reason
	}
	q.reading = reading
	if reading.Grant != nil {
		q.decision.User = reading.Grant.User
	}
	return ""
}

// scopeHeld demands that the token still has the scope by which the call was
// allowed. What its rules allow is known of the request's head, which is gone: where
// they are others than those that allowed it, on whichever replica, the call does not
// hold.
func (q *evaluation) scopeHeld() Reason {
	held, left, ok := q.scopesLeft()
	switch {
	case !ok || q.held.Scope == "" || !held.Has(q.held.Scope):
		return ScopeMissing
	case !left.Has(q.held.Scope):
		return ScopeDenied
	}
	if rules := q.provider.RulesOf(q.held.Scope); rules == 0 || q.held.Rules != rules {
		return ScopeMissing
	}
	return ""
}

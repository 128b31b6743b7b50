package exchange

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
)

// maxDecision bounds a decision whose caller set no deadline, or a generous one:
// Istio's own is ten minutes.
const maxDecision = 5 * time.Second

// Config configures a [Judge].
type Config struct {
	Decide func(context.Context, authz.Request) authz.Decision // required

	// Held: an agent's allow says what the call holds (envoy.MetaHeld), for those who
	// see the rest of the exchange. Without the text Envoy would show it to nobody.
	Held bool

	// TrustedHops is how many proxies in front of Envoy are believed about the
	// client's address, which only events tell.
	TrustedHops int

	Logger *slog.Logger // required
}

// A Judge answers questions, by whatever protocol they come.
type Judge struct{ config Config }

// NewJudge returns a judge.
func NewJudge(c Config) (*Judge, error) {
	switch {
	case c.Decide == nil:
		return nil, errors.New("envoy: Decide is required")
	case c.Logger == nil:
		return nil, errors.New("envoy: Logger is required")
	}
	return &Judge{c}, nil
}

// Answer answers the question that read reads; it reports false where there is none.
// A panic in there, or in a decision, refuses.
func (j *Judge) Answer(ctx context.Context, read func(trustedHops int) (Question, bool)) (a Answer) {
	q, id := Question{}, ath.NewDecisionID()
	defer func() {
		if p := recover(); p != nil {
			// The value may hold anything that a caller sent: its type is enough.
			j.config.Logger.ErrorContext(ctx, "a check panicked; the request is refused", "decision_id", id, "panic", fmt.Sprintf("%T", p))
			a = q.Refuse(authz.Decision{ID: id})
		}
	}()
	var ok bool
	if q, ok = read(j.config.TrustedHops); !ok {
		j.config.Logger.WarnContext(ctx, "a check without HTTP attributes; it is refused", "decision_id", id)
		return q.Refuse(authz.Decision{ID: id})
	}
	ctx, cancel := within(ctx)
	defer cancel()
	q.ID = id
	d := j.config.Decide(ctx, q.Request)
	a, err := q.Answer(d)
	if err == nil && j.config.Held && !a.hold(&d) {
		a, err = q.Refuse(authz.Decision{ID: id}), errors.New("what the call holds cannot be written: nobody could end it")
	}
	if err != nil {
		j.config.Logger.ErrorContext(ctx, "an allow cannot be put into a reply; the request is refused", "decision_id", id, "error", err)
	}
	return a
}

// within bounds a decision. Envoy's own deadline, where it is the shorter one,
// already does.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	if at, there := ctx.Deadline(); there && time.Until(at) <= maxDecision {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, maxDecision)
}

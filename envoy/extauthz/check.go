package extauthz

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
)

// maxDecision bounds a check whose caller set no deadline, or a generous one:
// Istio's own is ten minutes.
const maxDecision = 5 * time.Second

// checks is the service that Envoy calls. It never returns an error: Envoy
// would answer that with a refusal of its own, which says less.
type checks struct {
	decide func(context.Context, authz.Request) authz.Decision
	logger *slog.Logger
	hops   int // of trusted proxies in front of Envoy
}

// Check answers one request.
func (c *checks) Check(ctx context.Context, request *attributes) (reply message) {
	q := question{}
	id := ath.NewDecisionID()
	defer func() {
		if p := recover(); p != nil {
			// The value may hold anything that a caller sent: its type is enough.
			c.logger.ErrorContext(ctx, "a check panicked; the request is refused",
				"decision_id", id, "panic", fmt.Sprintf("%T", p))
			a := q.refuse(authz.Decision{ID: id})
			reply = a.encode()
		}
	}()
	a := c.answer(ctx, &q, request, id)
	return a.encode()
}

func (c *checks) answer(ctx context.Context, q *question, request *attributes, id string) answer {
	var ok bool
	if *q, ok = readCheck(request, c.hops); !ok {
		c.logger.WarnContext(ctx, "a check without HTTP attributes; it is refused", "decision_id", id)
		return q.refuse(authz.Decision{ID: id})
	}
	ctx, cancel := c.within(ctx)
	defer cancel()
	q.ID = id
	a, err := q.reply(c.decide(ctx, q.Request))
	if err != nil {
		c.logger.ErrorContext(ctx, "an allow cannot be put into a reply; the request is refused",
			"decision_id", id, "error", err)
	}
	return a
}

// within bounds a check. Envoy's own deadline, where it is the shorter one,
// already does.
func (c *checks) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if at, there := ctx.Deadline(); there && time.Until(at) <= maxDecision {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, maxDecision)
}

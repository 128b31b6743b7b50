package envoy

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
)

// maxDecision bounds a check whose caller set no deadline, or a generous one:
// Istio's own is ten minutes.
const maxDecision = 5 * time.Second

// checks is the service that Envoy calls. It never returns an error: Envoy
// would answer that with a refusal of its own, which says less.
type checks struct {
	authv3.UnimplementedAuthorizationServer
	decide func(context.Context, authz.Request) authz.Decision
	logger *slog.Logger
}

// Check answers one request.
func (c *checks) Check(ctx context.Context, request *authv3.CheckRequest) (response *authv3.CheckResponse, _ error) {
	q := question{}
	id := ath.NewDecisionID()
	defer func() {
		if p := recover(); p != nil {
			// The value may hold anything that a caller sent: its type is enough.
			c.logger.ErrorContext(ctx, "a check panicked; the request is refused",
				"decision_id", id, "panic", fmt.Sprintf("%T", p))
			response = q.refuse(authz.Decision{ID: id})
		}
	}()
	q, ok := readCheck(request)
	if !ok {
		c.logger.WarnContext(ctx, "a check without HTTP attributes; it is refused", "decision_id", id)
		return q.refuse(authz.Decision{ID: id}), nil
	}
	ctx, cancel := context.WithTimeout(ctx, maxDecision)
	defer cancel()
	q.ID = id
	decision := c.decide(ctx, q.Request)
	response, err := q.reply(decision)
	if err != nil {
		c.logger.ErrorContext(ctx, "an allow cannot be put into a reply; the request is refused",
			"decision_id", id, "error", err)
	}
	return response, nil
}

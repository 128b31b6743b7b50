package tokenstore_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/athd/athd/tokenstore"
)

// testReadBatch reads for many agents at once, so that reads share batches, while
// every third caller leaves: each that stays gets its own answer.
func testReadBatch(t *testing.T, b backend) {
	s := b.open(t)
	flows := make([]flow, 24)
	for i := range flows {
		flows[i] = newFlow(t)
		flows[i].store(t, s)
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	var reading sync.WaitGroup
	for round := range 20 {
		for i, f := range flows {
			reading.Go(func() {
				ctx, gone := t.Context(), (round+i)%3 == 0
				if gone {
					ctx = left
				}
				r, err := s.Read(ctx, f.token, f.agent.ID)
				switch {
				case gone && errors.Is(err, tokenstore.ErrUnavailable):
				case err != nil:
					t.Errorf("a caller that stays: %v", err)
				case r.Grant == nil || r.Grant.Agent != f.agent.ID || r.Grant.User != f.grant.User ||
					r.Connection == nil || r.Connection.Access.Reveal() != f.connection.Access.Reveal() ||
					r.Agent == nil || r.Agent.ID != f.agent.ID:
					t.Errorf("another's answer: %+v", r)
				}
			})
		}
	}
	reading.Wait()
}

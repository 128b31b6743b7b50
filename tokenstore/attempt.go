package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/redis/go-redis/v9"
)

// do runs one operation against the server, within the store's deadline and
// behind the breaker, and turns whatever the server or the network did wrong
// into ErrUnavailable. Errors that are answers pass as they are.
func (s *Store) do(ctx context.Context, op string, f func(context.Context) error) error {
	return s.try(ctx, op, func(ctx context.Context) error {
		within, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		return f(within)
	})
}

// try is do for an operation that keeps a deadline by itself.
func (s *Store) try(ctx context.Context, op string, f func(context.Context) error) error {
	start := time.Now()
	var err error
	if foreign := s.foreign.Load(); foreign != nil && op != opReady && op != opKeyset {
		err = foreign.verb() // a write would leave the only record that opens
	} else {
		err = s.attempt(ctx, op, f)
	}
	switch {
	case err == nil:
	case isAnswer(err):
		err = fmt.Errorf("store: %s: %w", op, err)
	default:
		err = fmt.Errorf("store: %s: %w: %w", op, ErrUnavailable, err)
	}
	s.observe(op, time.Since(start), err)
	return err
}

func (s *Store) attempt(ctx context.Context, op string, f func(context.Context) error) error {
	if !s.breaker.TryAcquirePermit() {
		return s.notAsked()
	}
	// A permit that is not returned would keep a half-open breaker waiting for
	// ever, so a panic counts as a failure.
	var err error
	verdict := func() {
		s.failed.Store(&failure{op, err})
		s.breaker.RecordFailure()
	}
	defer func() { verdict() }()

	start := time.Now()
	err = f(ctx)
	switch {
	case err == nil || isAnswer(err) || isReply(err) || errors.Is(err, errUnconfirmed):
		verdict = s.breaker.RecordSuccess
	case isShared(err) && !s.breaker.IsHalfOpen():
		verdict = func() {} // another read of the same batch counts
	case ctx.Err() != nil && time.Since(start) < s.timeout/2 && !s.breaker.IsHalfOpen():
		// The caller left before the store had half of its time, which says
		// nothing about the store. A caller that waits for longer than that, but
		// less than the timeout, as Envoy may, still counts.
		verdict = func() {}
	}
	return err
}

// A failure is an operation that the breaker counted; err is nil if it
// panicked.
type failure struct {
	op  string
	err error
}

// notAsked is what the open breaker answers, with the failure that opened it.
func (s *Store) notAsked() error {
	if last := s.failed.Load(); last != nil && last.err != nil {
		return fmt.Errorf("%w; the last one: %w", errBreaker, last.err)
	}
	return errBreaker
}

func isShared(err error) bool {
	_, ok := errors.AsType[sharedError](err)
	return ok
}

// isReply reports whether the error is the server's own reply: such a server
// answers quickly, and a breaker would only hide what it replies.
func isReply(err error) bool {
	_, ok := errors.AsType[redis.Error](err)
	return ok
}

func (s *Store) newBreaker() circuitbreaker.CircuitBreaker[any] {
	return circuitbreaker.NewBuilder[any]().
		WithFailureThreshold(breakerThreshold).
		WithSuccessThreshold(1).
		WithDelay(breakerDelay).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			switch {
			case e.OldState == circuitbreaker.ClosedState && e.NewState == circuitbreaker.OpenState:
				last := s.failed.Load()
				s.log.Warn("redis unavailable", "op", last.op, "addr", s.String(), "reason", Reason(last.err),
					"hint", "decisions and handshakes are answered 503 until it answers again")
			case e.NewState == circuitbreaker.ClosedState:
				s.log.Info("redis available", "addr", s.String())
			}
		}).
		Build()
}

package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// An attempt is one try to refresh one connection's token: at most one call.
type attempt struct {
	*Vault
	work
	flight  *flight
	refresh *tokenstore.Refresh
	before  tokenstore.Attempt // the last one with this refresh token
	until   time.Time          // the call must have ended, or others may make one
	began   time.Time          // by the clock on the wall, which goes on while a machine sleeps
	gone    bool               // the connection has ended since it was read
}

// attempt makes the call, if nothing is in its way.
func (v *Vault) attempt(w work, f *flight, state tokenstore.RefreshState) Result {
	gate := v.gates.of(w.provider.ID)
	switch gate.enter(time.Now()) {
	case shut:
		return ProviderAway
	case busy:
		return pending
	}
	defer gate.leave()
	a := &attempt{Vault: v, work: w, flight: f, before: attemptOf(&state)}
	next := tokenstore.Attempt{
		Of: ath.DigestOf(state.Connection.Refresh.Reveal()), Unknown: true, Lost: a.before.Lost, Failed: a.before.Failed,
		Wait: (v.Settle + v.Call + v.Grace).Milliseconds(),
	}
	var err error
	if a.refresh, err = v.Store.NewRefresh(state, next); err != nil {
		v.Logger.Error("refresh not begun", "provider_id", w.provider.ID, "error", err)
		return StoreAway
	}
	if result := a.begin(); result != Renewed {
		return result
	}
	stop := a.keepLease()
	defer stop()
	if a.before.Unknown {
		if result := a.settle(); result != Renewed {
			return result
		}
	}
	return a.call(gate)
}

// begin takes the lease and writes the attempt down. While Redis does not say
// whether it has, it is asked again with the same words: given up at the first
// failure, an attempt that was written after all would pass for a call.
func (a *attempt) begin() Result {
	defer a.flight.atStore.Store(false)
	began, pause := time.Now(), 50*time.Millisecond
	for {
		sent := time.Now()
		a.began = a.Now().Round(0)
		err := a.Store.BeginRefresh(a.ctx, a.refresh, a.Lease)
		switch {
		case err == nil:
			a.until = sent.Add(a.Settle + a.Call)
			return Renewed
		case errors.Is(err, tokenstore.ErrChanged):
			return again
		}
		a.flight.atStore.Store(true)
		if time.Since(began) > patience || !a.sleep(jitter(pause)) {
			a.withdraw()
			return StoreAway
		}
		pause = min(2*pause, writePause)
	}
}

// withdraw says, if that is possible, that no call was made after all.
func (a *attempt) withdraw() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), time.Second)
	defer cancel()
	var before *tokenstore.Attempt
	if a.before != (tokenstore.Attempt{}) {
		before = &a.before
	}
	if err := a.Store.FailRefresh(ctx, a.refresh, before); err != nil {
		a.Logger.Debug("attempt not withdrawn", "provider_id", a.provider.ID, "error", err)
	}
}

// keepLease renews the lease until stop is called.
func (a *attempt) keepLease() (stop func()) {
	ctx, cancel := context.WithCancel(a.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(a.Lease / 4)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				// Without the lease the attempt still keeps others from a call, and
				// an outcome is stored only in place of what was read.
				if err := a.Store.RenewLease(ctx, a.refresh, a.Lease); err != nil && ctx.Err() == nil {
					a.Logger.Debug("lease not renewed", "provider_id", a.provider.ID, "error", err)
				}
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// settle lets whoever may have the outcome of an earlier call store it.
func (a *attempt) settle() Result {
	closed := !a.sleep(a.Settle)
	state, err := a.Store.RefreshState(a.ctx, a.ref)
	switch {
	case closed || err != nil && !errors.Is(err, tokenstore.ErrNotFound):
		a.withdraw()
		return StoreAway
	case err != nil || !state.SameConnection(a.refresh.State):
		a.withdraw()
		return again
	}
	return Renewed
}

// call spends the refresh token.
func (a *attempt) call(gate *gate) Result {
	if a.late() {
		a.withdraw()
		return again
	}
	c := a.refresh.State.Connection
	a.flight.called = true
	began := time.Now()
	tokens, err := a.send(c.Refresh, c.Scopes)
	took := time.Since(began)
	switch {
	case err == nil:
		gate.succeeded()
		if err := a.provider.SameUser(tokens, a.subject()); err != nil {
			return a.otherUser(err, took)
		}
		return a.store(tokens, took)
	case a.provider.RefusesRefresh(err):
		gate.succeeded() // it answers
		return a.condemn(err, took)
	}
	if ofProvider(err) {
		gate.failed(time.Now())
	}
	return a.failed(err, took)
}

// late reports whether this process, or its machine, was stopped for so long since
// it began that others may be in a call.
func (a *attempt) late() bool {
	return !time.Now().Before(a.until) || a.ctx.Err() != nil || a.Now().Round(0).Sub(a.began) >= a.Settle+a.Call
}

// send makes the call. At its deadline there is a moment left to read an answer
// that came while this process was stopped: then deadline and answer are there at
// once.
func (a *attempt) send(refresh ath.Secret, scopes ath.Scopes) (provider.Tokens, error) {
	ctx, cancel := context.WithCancelCause(a.ctx)
	defer cancel(nil)
	over := time.AfterFunc(time.Until(a.until), func() {
		last := time.AfterFunc(min(lastRead, a.Grace/2), func() { cancel(context.DeadlineExceeded) })
		context.AfterFunc(ctx, func() { last.Stop() })
	})
	defer over.Stop()
	a.calls.Add(1)
	defer a.calls.Add(-1)
	return a.OAuth.RefreshTokens(ctx, a.provider, refresh, scopes)
}

// ofProvider reports whether a failure says something of the provider, or of the
// client that it knows, and not only of one connection.
func ofProvider(err error) bool {
	e, ok := errors.AsType[*provider.ExchangeError](err)
	if !ok {
		return true
	}
	return e.Status < 400 || e.Status >= 500 || e.Status == http.StatusUnauthorized || e.Status == http.StatusTooManyRequests ||
		e.Code == "" || e.Code == "invalid_client" || e.Code == "unauthorized_client"
}

// failed leaves the grant as it is, and writes down when there may be another
// call.
func (a *attempt) failed(err error, took time.Duration) Result {
	next := tokenstore.Attempt{Of: ath.DigestOf(a.refresh.State.Connection.Refresh.Reveal()), Unknown: a.before.Unknown, Lost: a.before.Lost, Failed: a.before.Failed}
	outcome := outcomeFailed
	e, _ := errors.AsType[*provider.ExchangeError](err)
	var wait time.Duration
	switch {
	case e != nil && e.Status == 0 && !e.Unsent, e == nil:
		outcome, next.Unknown = outcomeUnanswered, true
		next.Lost++
		wait = a.afterLost(next.Lost)
	default:
		// An error code is a word on this call. What is none may come from behind
		// a server that has spent the token.
		next.Unknown = next.Unknown || !e.Unsent && e.Code == ""
		wait = growing(shutAtFirst, shutAtMost, next.Failed)
		next.Failed++
	}
	next.Wait = jitter(wait).Milliseconds()
	said := "no answer"
	if e != nil {
		said = e.Said()
	}
	a.Observe(a.provider.ID, outcome, took)
	a.Logger.Warn("token not refreshed", "provider_id", a.provider.ID, "upstream_error", said, "again_in", wait.String(),
		"hint", "the user's grant is kept")
	if err := a.Store.FailRefresh(a.ctx, a.refresh, &next); err != nil {
		// It stays as one whose outcome is not known, for longer.
		a.Logger.Debug("failed attempt not written", "provider_id", a.provider.ID, "error", err)
	}
	return ProviderAway
}

// afterLost is when there may be a call after n calls without an answer: one
// soon, since it saves the grant where the first did not arrive, and further ones
// at growing pauses, since nobody has refused it.
func (v *Vault) afterLost(n int) time.Duration {
	if n <= 1 {
		return v.Grace
	}
	return growing(time.Minute, 10*time.Minute, n-2)
}

func typeName(v any) string { return fmt.Sprintf("%T", v) }

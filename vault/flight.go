package vault

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// A Result is what became of a token that had ended. The zero Result refuses.
type Result int

// The results.
const (
	Refused      Result = iota // there is nothing to refresh by: the user must authorize again (P-6)
	Renewed                    // read the store again
	ProviderAway               // not now: no answer of the provider's yet
	StoreAway                  // not now: no answer of Redis
	Unreadable                 // a record that tells of it does not open
	pending                    // somebody else is at it, or the outcome of a call is unknown
	again                      // look once more
)

// work is one connection's token to refresh.
type work struct {
	ref      tokenstore.ConnectionRef
	provider *provider.Provider
	cause    cause
	by       time.Time       // of an idle one: when it is due
	unused   time.Time       // of an idle one: since when, as it was looked
	token    ath.Fingerprint // of a rejected one
}

// A cause is why a token is refreshed.
type cause int

const (
	ahead    cause = iota // it ends soon, and was used lately
	demanded              // a decision waits for it
	asked                 // an operator wants it
	idle                  // the refresh token ends, and nobody calls
	rejected              // the API has answered 401 to it
)

// A flight is what one athd does about one connection, for all who want it.
type flight struct {
	done      chan struct{}
	cause     cause
	result    Result          // once done
	called    bool            // the provider was asked; once done
	token     ath.Fingerprint // of a rejected one
	rejection Rejection       // of a rejected one, where result does not say it; once done
	atStore   atomic.Bool     // it waits for Redis
	events    []audit.Event
}

// Renew is for a decision that has found the access token ended. It waits for a
// new one for as long as a decision may, and goes on without: then the work does,
// too. A refresh token that has ended, as the provider said when it gave it, is
// tried nevertheless, but without an answer there is nothing to wait for any more.
func (v *Vault) Renew(ctx context.Context, p *provider.Provider, g *tokenstore.Grant, c *tokenstore.Connection) Result {
	result := v.renew(ctx, p, g, c)
	if result == ProviderAway && c.RefreshStatus.Over(v.Now()) {
		return Refused
	}
	return result
}

func (v *Vault) renew(ctx context.Context, p *provider.Provider, g *tokenstore.Grant, c *tokenstore.Connection) Result {
	if c.Ended || !p.Refreshable(c.Refresh) || !v.mayTry(c) {
		return Refused
	}
	ctx, cancel := context.WithTimeout(ctx, v.Wait)
	defer cancel()
	for {
		f := v.join(work{ref: g.Ref(), provider: p, cause: demanded})
		if f == nil {
			return ProviderAway
		}
		select {
		case <-f.done:
			if f.result != pending && f.rejection == rejectedNotFinished { // else it had another question
				return f.result
			}
		case <-ctx.Done():
			if f.atStore.Load() {
				return StoreAway
			}
			return ProviderAway
		}
	}
}

// mayTry is false of a token that was refused, but for the one later try.
func (v *Vault) mayTry(c *tokenstore.Connection) bool {
	r := &c.RefreshStatus
	return r.Refused.IsZero() || !r.TriedAgain && v.Now().Sub(r.Refused) >= retryAfter
}

// join returns the flight for a connection, which is begun if there is none; nil:
// there are too many, or the vault is closed.
func (v *Vault) join(w work) *flight {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f := v.flights[w.ref.Tag]; f != nil {
		return f
	}
	if v.closed || len(v.flights) >= maxFlights {
		return nil
	}
	f := &flight{done: make(chan struct{}), cause: w.cause, token: w.token, result: StoreAway}
	v.flights[w.ref.Tag] = f
	v.flying.Go(func() {
		defer v.land(w.ref.Tag, f)
		f.result = v.fly(w, f)
	})
	return f
}

func (v *Vault) land(tag ath.Tag, f *flight) {
	if p := recover(); p != nil {
		f.result = ProviderAway
		v.Logger.Error("refresh panicked", "panic", typeName(p))
	}
	v.mu.Lock()
	delete(v.flights, tag)
	v.mu.Unlock()
	close(f.done)
	for _, e := range f.events { // who waits for the token does not wait for the log
		v.Audit.Record(context.WithoutCancel(v.ctx), e)
	}
}

// fly looks what is to be done until something is, or somebody else did it.
func (v *Vault) fly(w work, f *flight) Result {
	until := time.Now().Add(time.Second)
	for {
		state, err := v.Store.RefreshState(v.ctx, w.ref)
		switch {
		case errors.Is(err, tokenstore.ErrCorrupt):
			return Unreadable
		case isGone(err):
			return Renewed // the decision reads that too, and knows what to say
		case err != nil:
			return StoreAway
		}
		if w.cause == rejected {
			if f.rejection = v.judgeRejected(w, &state.Connection); f.rejection != rejectedNotFinished {
				return Renewed
			}
			if !w.provider.Refreshable(state.Connection.Refresh) {
				f.rejection = v.judgeToken(w, f, &state)
				return Renewed
			}
		}
		result := v.judge(w, &state)
		if result == again {
			result = v.attempt(w, f, state)
		}
		switch {
		case result == again:
			continue
		case result != pending:
			return result
		case w.cause == ahead || w.cause == idle || !time.Now().Before(until) || !v.sleep(poll):
			return pending
		}
	}
}

// judge says what the store's state demands; again: a call to the provider.
func (v *Vault) judge(w work, s *tokenstore.RefreshState) Result {
	c := &s.Connection
	switch {
	case c.Ended || !w.provider.Refreshable(c.Refresh):
		return Refused
	case !w.provider.Ready():
		return ProviderAway // its issuer has not told its endpoints yet: whose the refresh token is is not known
	case !w.provider.Agreed(c.Destination, c.Bound):
		return Refused // O-2: this refresh token is not for that server
	case !v.due(w, c):
		return Renewed
	case !v.mayTryFor(w.cause, c):
		return Refused
	case s.Leased:
		return pending
	}
	a := attemptOf(s)
	switch {
	case s.Age >= v.waitFor(w.cause, &a):
		return again
	case w.cause == rejected: // who has a 401 in hand waits for what is under way only
		return ProviderAway
	case a.Unknown:
		return pending
	}
	return ProviderAway
}

// due reports whether the time has come for what is to be done.
func (v *Vault) due(w work, c *tokenstore.Connection) bool {
	switch w.cause {
	case asked:
		return c.RefreshStatus.Refreshed.IsZero() || v.Now().Sub(c.RefreshStatus.Refreshed) >= askedEvery
	case rejected:
		return true // it was looked at before
	case idle:
		return c.UnusedSince().Equal(w.unused) && !v.Now().Before(w.by)
	case demanded:
		return !c.Expires.IsZero() && !v.Now().Before(c.Expires)
	}
	return !c.Expires.IsZero() && !v.Now().Before(c.Expires.Add(-w.provider.Margin(life(c))))
}

// mayTryFor is false of a token that was refused: nobody tries it ahead of time.
func (v *Vault) mayTryFor(why cause, c *tokenstore.Connection) bool {
	switch refused := c.RefreshStatus.Refused; {
	case refused.IsZero():
		return true
	case why == asked:
		return v.Now().Sub(refused) >= askedEvery
	}
	return why == demanded && v.mayTry(c)
}

// waitFor is how old an attempt must be before there is another.
func (v *Vault) waitFor(why cause, a *tokenstore.Attempt) time.Duration {
	wait := time.Duration(a.Wait) * time.Millisecond
	switch {
	case *a == (tokenstore.Attempt{}):
	case why == asked:
		wait = max(wait, askedEvery)
	case why == rejected:
		wait = max(wait, rejectedEvery)
	}
	return wait
}

// isGone reports whether there is no connection that could be refreshed.
func isGone(err error) bool {
	return errors.Is(err, tokenstore.ErrNotFound) || errors.Is(err, tokenstore.ErrCorrupt)
}

// attemptOf is the last attempt with the present refresh token; the zero one:
// there was none.
func attemptOf(s *tokenstore.RefreshState) tokenstore.Attempt {
	if s.Attempt == nil || s.Attempt.Of != ath.DigestOf(s.Connection.Refresh.Reveal()) {
		return tokenstore.Attempt{}
	}
	return *s.Attempt
}

// sleep reports false where the vault was closed meanwhile.
func (v *Vault) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-v.ctx.Done():
		return false
	}
}

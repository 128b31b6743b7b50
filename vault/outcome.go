package vault

import (
	"errors"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// The outcomes of calls to providers.
const (
	outcomeRefreshed  = "refreshed"  // new tokens are stored
	outcomeRefused    = "refused"    // the provider ended the grant
	outcomeFailed     = "failed"     // an answer without tokens, or no connection; nothing is lost
	outcomeUnanswered = "unanswered" // the call may have spent the refresh token
	outcomeDiscarded  = "discarded"  // the connection ended meanwhile, or had newer tokens
	outcomeOtherUser  = "other_user" // the reply was of another user: nothing of it is kept, and the connection has ended
	outcomeUnwritten  = "unwritten"  // new tokens were lost: athd ended before Redis took them
)

// Outcomes lists them, so that metrics can show those that have not happened yet.
func Outcomes() []string {
	return []string{outcomeRefreshed, outcomeRefused, outcomeFailed, outcomeUnanswered, outcomeDiscarded, outcomeUnwritten, outcomeOtherUser}
}

// store writes the new tokens until they are written.
func (a *attempt) store(t provider.Tokens, took time.Duration) Result {
	now := a.Now()
	outcome, result := a.write(0, func(c tokenstore.Connection) tokenstore.Connection { return renewed(c, t, now) })
	if a.gone {
		a.handOver(renewed(a.refresh.State.Connection, t, now))
	}
	if outcome == "" {
		outcome = outcomeRefreshed
		why := ""
		if a.cause == rejected {
			why = "rejected_by_api"
		}
		a.event(audit.ConnectionRefreshed, renewed(a.refresh.State.Connection, t, now).Scopes, why, "")
	}
	if outcome == outcomeUnwritten {
		a.Logger.Error("refreshed token lost", "provider_id", a.provider.ID, "hint", "redis took no writes until athd ended: the user may have to authorize again")
	}
	a.Observe(a.provider.ID, outcome, took)
	return result
}

// handOver has the new tokens revoked of a connection that ended while they were on
// their way: what its end has queued is the token of before (V-5).
func (a *attempt) handOver(c tokenstore.Connection) {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, writePause) {
		_, err := a.Store.HandRevocation(a.ctx, a.ref.Tag, &c)
		if err == nil {
			return
		}
		if !errors.Is(err, tokenstore.ErrUnavailable) || !a.sleep(jitter(pause)) {
			a.Logger.Error("upstream grant not revoked", "provider_id", a.provider.ID, "reason", "unwritten", "error", err,
				"hint", "the connection ended while it was refreshed, and the new tokens could not be queued: revoke the user's grant at the provider")
			return
		}
	}
}

// renewed is a connection with new tokens. Scopes may become fewer, never more.
func renewed(c tokenstore.Connection, t provider.Tokens, now time.Time) tokenstore.Connection {
	narrowed := c.RefreshStatus.Narrowed
	c.Access, c.Expires = t.Access, t.Expires
	before := c.RefreshStatus.RefreshExpires
	c.RefreshStatus = tokenstore.RefreshStatus{Refreshed: now, RefreshExpires: t.RefreshExpires, Subject: c.RefreshStatus.Subject}
	switch {
	case !t.Refresh.IsZero():
		c.Refresh = t.Refresh
	case t.RefreshExpires.IsZero():
		c.RefreshStatus.RefreshExpires = before // it is the same token still
	}
	if t.ScopesGiven {
		left := c.Scopes.Intersect(t.Scopes)
		narrowed = narrowed || len(left) < len(c.Scopes)
		c.Scopes = left
	}
	c.RefreshStatus.Narrowed = narrowed
	return c
}

// condemn writes down that the provider refused the refresh token.
func (a *attempt) condemn(err error, took time.Duration) Result {
	e, _ := errors.AsType[*provider.ExchangeError](err)
	now, second := a.Now(), !a.refresh.State.Connection.RefreshStatus.Refused.IsZero()
	keep := keepDead
	if second && a.cause == asked { // however often an operator tries, it goes a day after the first refusal
		keep = 0
	}
	outcome, result := a.write(keep, func(c tokenstore.Connection) tokenstore.Connection {
		r := &c.RefreshStatus
		r.Refused, r.RefusedFor = now, e.Code
		r.TriedAgain = r.TriedAgain || second && a.cause != asked // whose try is not the agent's one
		if a.cause == rejected && (c.Expires.IsZero() || now.Before(c.Expires)) {
			c.Expires = now // the API takes it no more: the next decision says what to do
		}
		return c
	})
	if outcome == "" {
		outcome, result = outcomeRefused, Refused
		reason := "refresh_refused"
		if a.before.Lost > 0 || a.before.Unknown {
			reason = "refresh_refused_after_unknown_outcome" // the token may have been spent by a call whose answer was lost
		}
		a.event(audit.ConnectionCondemned, nil, reason, e.Said())
		a.Logger.Warn("refresh token refused", "provider_id", a.provider.ID, "upstream_error", e.Said(),
			"hint", "the user must authorize the agent again once the access token has ended")
	}
	a.Observe(a.provider.ID, outcome, took)
	return result
}

// subject is the user as ID tokens name them; "": not known.
func (a *attempt) subject() string {
	if s := a.refresh.State.Connection.RefreshStatus.Subject; s != "" {
		return s
	}
	if !a.provider.NamesBySubject() || a.ref.User == string(a.ref.Tag) { // T-7: nobody said who the user is
		return ""
	}
	return a.ref.User
}

// otherUser ends a connection whose refresh gave tokens of somebody else: none of
// them is kept, and what the server says of whose a token is does not count any
// more. The user must authorize again.
func (a *attempt) otherUser(err error, took time.Duration) Result {
	e, _ := errors.AsType[*provider.ExchangeError](err)
	now := a.Now()
	outcome, result := a.write(0, func(c tokenstore.Connection) tokenstore.Connection {
		c.Ended = true
		c.RefreshStatus.Refused, c.RefreshStatus.RefusedFor, c.RefreshStatus.TriedAgain = now, tokenstore.OtherUser, true
		return c
	})
	if outcome == "" {
		outcome, result = outcomeOtherUser, Refused
		a.event(audit.ConnectionCondemned, nil, tokenstore.OtherUser, e.Said())
		a.Logger.Error("refresh gave another user's token", "provider_id", a.provider.ID, "upstream_error", e.Said(),
			"hint", "it was dropped and the connection ended: the user must authorize the agent again; tell the provider")
	}
	a.Observe(a.provider.ID, outcome, took)
	return result
}

// write replaces the connection by what next makes of it, again and again while
// Redis is away. The outcome is "" where it was written. One that has other tokens
// by now, or has ended, stays as it is.
func (a *attempt) write(keep time.Duration, next func(tokenstore.Connection) tokenstore.Connection) (outcome string, result Result) {
	base := a.refresh.State.Connection
	value := next(base)
	pause, waiting := 20*time.Millisecond, false
	defer func() {
		a.flight.atStore.Store(false)
		if waiting {
			a.unwritten.Add(-1)
		}
	}()
	for {
		err := a.Store.FinishRefresh(a.ctx, a.refresh, &value, keep)
		if err == nil {
			if waiting {
				a.Logger.Info("refreshed token written", "provider_id", a.provider.ID)
			}
			return "", Renewed
		}
		var state tokenstore.RefreshState
		if errors.Is(err, tokenstore.ErrChanged) {
			if state, err = a.Store.RefreshState(a.ctx, a.ref); err == nil {
				if !sameTokens(&state.Connection, &base) {
					if sameTokens(&state.Connection, &value) {
						return "", Renewed // a first try, whose answer was lost
					}
					return outcomeDiscarded, Renewed
				}
				a.refresh.Rebase(state)
				value = next(state.Connection)
				continue
			}
		}
		if errors.Is(err, tokenstore.ErrNotFound) || errors.Is(err, tokenstore.ErrCorrupt) {
			a.gone = errors.Is(err, tokenstore.ErrNotFound)
			return outcomeDiscarded, Renewed
		}
		if !errors.Is(err, tokenstore.ErrUnavailable) {
			a.Logger.Error("refreshed token cannot be stored", "provider_id", a.provider.ID, "error", err)
			return outcomeUnwritten, ProviderAway
		}
		if !waiting {
			waiting = true
			a.unwritten.Add(1)
			a.flight.atStore.Store(true)
			a.Logger.Warn("refreshed token not written", "provider_id", a.provider.ID, "reason", tokenstore.Reason(err),
				"hint", "it is kept in memory and written as soon as redis takes it")
		}
		if !a.sleep(jitter(pause)) {
			return outcomeUnwritten, StoreAway
		}
		pause = min(2*pause, writePause)
	}
}

// sameTokens compares both: there are servers that give the same access token at
// a new consent, with another refresh token.
func sameTokens(a, b *tokenstore.Connection) bool {
	return a.Access.Equal(b.Access.Reveal()) && (a.Refresh.IsZero() && b.Refresh.IsZero() || a.Refresh.Equal(b.Refresh.Reveal()))
}

func (a *attempt) event(kind audit.Kind, left ath.Scopes, reason, upstream string) {
	a.flight.events = append(a.flight.events, audit.Event{
		Kind: kind, AgentID: a.ref.Agent, UserID: a.ref.User, ProviderID: a.provider.ID, DecisionID: ath.NewDecisionID(),
		Reason: reason, Upstream: upstream, Effective: left,
	})
}

package vault

import (
	"context"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

const (
	// rejectedEvery is how long after a token came, or a call to the provider for its
	// connection, a 401 of the API causes another call at the earliest: over all
	// replicas, whoever provokes it.
	rejectedEvery = time.Minute
	// rejectedWait is how long a request that the API has rejected waits for a new
	// token: less than Envoy waits for the answer.
	rejectedWait = 4 * time.Second
	// judgedUse is what the one question to userinfo within rejectedEvery is known by.
	judgedUse = "userinfo"
)

// A Rejection is what became of an access token that the API has rejected. The zero
// Rejection is none of them.
type Rejection string

// The rejections.
const (
	RejectedRenewed     Rejection = "renewed"     // another token is stored
	RejectedRecently    Rejection = "recent"      // the provider was asked within the last minute: the token stays
	RejectedRefused     Rejection = "refused"     // the provider refuses the refresh token: the user must authorize again
	RejectedEnded       Rejection = "ended"       // userinfo rejects the token too, and there is nothing to refresh by: the same
	RejectedAccepted    Rejection = "accepted"    // userinfo accepts the token: the API's 401 is about something else
	RejectedUnjudged    Rejection = "unjudged"    // there is nothing to refresh by, and nobody says whether the token lives
	RejectedProvider    Rejection = "unavailable" // no answer of the provider's yet; nothing is lost
	RejectedStore       Rejection = "store_away"  // no answer of Redis
	RejectedNotHeld     Rejection = "not_held"    // the call has lost its grant: nothing is done for it
	RejectedOff         Rejection = "off"         // the provider's retry_on_401 is off by now
	rejectedNotFinished Rejection = ""
)

// Rejections lists them, so that metrics can show those that have not happened yet.
func Rejections() []Rejection {
	return []Rejection{RejectedRenewed, RejectedRecently, RejectedRefused, RejectedEnded, RejectedAccepted, RejectedUnjudged,
		RejectedProvider, RejectedStore, RejectedNotHeld, RejectedOff}
}

// Rejected is for an API's 401 to one access token of a connection, which token
// names. Of that token it makes sure once that it is replaced, by the one call that
// every refresh is ([doc]); a caller that reports an older one is told so at once.
// Whatever an API answers ends no grant: only what the token endpoint says does, or,
// of a connection with nothing to refresh by, userinfo's own 401.
//
// It waits some seconds; the work goes on without it.
func (v *Vault) Rejected(ctx context.Context, p *provider.Provider, ref tokenstore.ConnectionRef, token ath.Fingerprint) Rejection {
	ctx, cancel := context.WithTimeout(ctx, rejectedWait)
	defer cancel()
	for {
		f := v.join(work{ref: ref, provider: p, cause: rejected, token: token})
		if f == nil {
			return RejectedProvider
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			if f.atStore.Load() {
				return RejectedStore
			}
			return RejectedProvider
		}
		switch {
		case f.cause != rejected || f.token != token:
			if f.result == Renewed || f.result == pending {
				continue // it had another question
			}
		case f.result == pending:
			continue
		case f.rejection != rejectedNotFinished:
			return f.rejection
		}
		switch f.result {
		case Renewed:
			return RejectedRenewed
		case Refused:
			return RejectedRefused
		case StoreAway, Unreadable:
			return RejectedStore
		}
		return RejectedProvider
	}
}

// judgeRejected says what an API's 401 demands, before all else is looked at: "": that
// the token is refreshed, if that is possible now.
func (v *Vault) judgeRejected(w work, c *tokenstore.Connection) Rejection {
	switch {
	case ath.FingerprintOf(c.Access) != w.token:
		return RejectedRenewed // what was rejected is replaced already
	case !c.RefreshStatus.Refreshed.IsZero() && v.Now().Sub(c.RefreshStatus.Refreshed) < rejectedEvery:
		return RejectedRecently // an API that rejects each new token costs one a minute
	case !c.RefreshStatus.Refused.IsZero():
		return RejectedRefused
	}
	return rejectedNotFinished
}

// judgeToken asks userinfo about a token that cannot be refreshed, once a minute over
// all replicas. Where that rejects it too it has ended: the next decision says so.
func (v *Vault) judgeToken(w work, f *flight, state *tokenstore.RefreshState) Rejection {
	c, p := &state.Connection, w.provider
	if v.Userinfo == nil || c.Ended || c.Access.IsZero() || !p.Ready() || !p.Agreed(c.Destination, c.Bound) || !p.JudgesTokens(c.Scopes) {
		return RejectedUnjudged
	}
	gate := v.gates.of(p.ID)
	if gate.enter(time.Now()) != admitted {
		return RejectedProvider
	}
	defer gate.leave()
	first, err := v.Store.Once(v.ctx, w.ref.Tag, judgedUse, string(w.ref.Tag), rejectedEvery)
	switch {
	case err != nil:
		return RejectedStore
	case !first:
		return RejectedRecently
	}
	ctx, cancel := context.WithTimeout(v.ctx, v.Call)
	defer cancel()
	switch v.Userinfo.JudgeToken(ctx, p, c.Access, c.Scopes) {
	case provider.TokenAccepted:
		return RejectedAccepted
	case provider.TokenRejected:
		return v.endRejected(w, f, state)
	}
	return RejectedUnjudged
}

// endRejected writes down that the token has ended. It keeps what is stored
// otherwise, so that the user can heal the connection (P-10).
func (v *Vault) endRejected(w work, f *flight, state *tokenstore.RefreshState) Rejection {
	a := &attempt{Vault: v, work: w, flight: f}
	var err error
	if a.refresh, err = v.Store.NewRefresh(*state, tokenstore.Attempt{}); err != nil {
		v.Logger.Error("rejected token not ended", "provider_id", w.provider.ID, "error", err)
		return RejectedStore
	}
	now := v.Now()
	outcome, result := a.write(0, func(c tokenstore.Connection) tokenstore.Connection {
		c.Expires = now
		c.RefreshStatus.Refused, c.RefreshStatus.RefusedFor = now, tokenstore.RejectedByUserinfo
		return c
	})
	switch {
	case outcome == "":
		a.event(audit.ConnectionCondemned, nil, tokenstore.RejectedByUserinfo, "")
		v.Logger.Warn("access token rejected by api and userinfo", "provider_id", w.provider.ID,
			"hint", "there is nothing to refresh it by: the user must authorize the agent again")
		return RejectedEnded
	case result == StoreAway:
		return RejectedStore
	}
	return RejectedRenewed
}

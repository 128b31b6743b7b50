package vault

import (
	"context"
	"time"

	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

const (
	// askedEvery is how long after a call to the provider for a connection an
	// operator causes another one at the earliest.
	askedEvery = 10 * time.Second
	// askedWait is how long an operator waits for the outcome: longer than most
	// providers take, and less than a request to the admin API may.
	askedWait = 12 * time.Second
)

// A Report is what came of an operator's wish to refresh a connection's token.
type Report struct {
	Outcome Outcome
	// Connection is what is stored now, but for its tokens.
	Connection tokenstore.Connection
	// Again is when the provider may be asked next at the earliest; 0: at once.
	Again time.Duration
}

// An Outcome is the answer to an operator. The zero Outcome is none of them.
type Outcome string

// The outcomes.
const (
	Refreshed      Outcome = "refreshed"       // the provider gave a new token, and it is stored
	Fresh          Outcome = "fresh"           // the token came some seconds ago: the provider was not asked
	NotRefreshable Outcome = "not_refreshable" // there is nothing to refresh by
	RefusedNow     Outcome = "refused"         // the provider refuses the refresh token
	AwayProvider   Outcome = "provider_away"   // no token; the grant is kept
	AwayStore      Outcome = "store_away"      // Redis does not answer; a token that came back is written once it does
	UnderWay       Outcome = "under_way"       // a call is under way, here or at another athd, or its outcome is not known
	Gone           Outcome = "gone"            // the connection has ended
)

// Ask refreshes a connection's token now, for an operator: by the same one call as
// everybody else's, also if the token lives, or was refused before. It waits some
// seconds; the call goes on without it. However often it is called, the provider
// is asked once in ten seconds at most.
func (v *Vault) Ask(ctx context.Context, p *provider.Provider, ref tokenstore.ConnectionRef) Report {
	ctx, cancel := context.WithTimeout(ctx, askedWait)
	defer cancel()
	var f *flight
	for {
		if f = v.join(work{ref: ref, provider: p, cause: asked}); f == nil {
			return Report{Outcome: AwayProvider, Again: askedEvery}
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			if f.atStore.Load() {
				return Report{Outcome: AwayStore}
			}
			return Report{Outcome: UnderWay}
		}
		if f.cause == asked || f.called { // else it had another question
			return v.report(context.WithoutCancel(ctx), p, ref, f)
		}
	}
}

// report says what a flight has come to, by what is stored behind it.
func (v *Vault) report(ctx context.Context, p *provider.Provider, ref tokenstore.ConnectionRef, f *flight) Report {
	if f.result == StoreAway {
		return Report{Outcome: AwayStore}
	}
	state, err := v.Store.RefreshState(ctx, ref)
	switch {
	case isGone(err):
		return Report{Outcome: Gone}
	case err != nil:
		return Report{Outcome: AwayStore}
	}
	c := &state.Connection
	out := Report{Connection: *c}
	switch {
	case f.result == pending:
		out.Outcome = UnderWay
	case f.result == ProviderAway:
		out.Outcome = AwayProvider
	case f.result == Renewed && f.called:
		out.Outcome = Refreshed
	case f.result == Renewed:
		out.Outcome = Fresh
	case !c.RefreshStatus.Refused.IsZero():
		out.Outcome = RefusedNow
	default:
		out.Outcome = NotRefreshable
	}
	switch a := attemptOf(&state); {
	case out.Outcome == UnderWay || out.Outcome == AwayProvider:
		out.Again = max(0, v.waitFor(asked, &a)-state.Age, v.gates.of(p.ID).left(time.Now()))
	case !c.RefreshStatus.Refused.IsZero():
		out.Again = max(0, askedEvery-v.Now().Sub(c.RefreshStatus.Refused))
	}
	return out
}

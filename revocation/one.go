package revocation

import (
	"context"
	"errors"
	"time"

	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// one does what is to be done about one entry that is due.
func (w *Worker) one(e tokenstore.RevocationEntry) error {
	held, err := w.Store.Revocation(w.ctx, e.Tag)
	switch {
	case errors.Is(err, tokenstore.ErrNotFound):
		return w.Store.DropRevocation(w.ctx, e.Tag)
	case errors.Is(err, tokenstore.ErrCorrupt):
		// Another athd may have the key. It ages out.
		w.Logger.Error("revocation does not open", "error", err, "hint", "it was sealed with another keyset, or changed in redis: it is looked at each hour")
		return w.Store.PostponeRevocation(w.ctx, e.Tag, w.Now().Add(lookAgain))
	case err != nil:
		return err
	}
	r := &held.Value
	if w.Now().Before(r.Until) { // somebody is at it
		return w.Store.PostponeRevocation(w.ctx, e.Tag, r.Until)
	}
	p := w.find(r.Provider, r.Destination, r.Bound)
	switch {
	case !r.Due.IsZero() && w.Now().Sub(r.Due) >= giveUp:
		return w.end(held, outcomeGivenUp, "")
	case p == nil || !p.Ready():
		if r.Due.IsZero() && w.Now().Sub(r.Ended) >= giveUp {
			return w.end(held, outcomeGivenUp, "")
		}
		return w.Store.PostponeRevocation(w.ctx, e.Tag, w.Now().Add(growing(3)))
	case p.Revocation == provider.RevokeNever:
		return w.end(held, string(tokenstore.UpstreamNever), "")
	case !p.AgreedToRevoke(r.Destination, r.Bound):
		return w.end(held, outcomeMoved, "") // O-2: the token is not for that server, or not for that place
	case p.Revocation != provider.RevokeEach:
		if waits, err := w.waits(held); err != nil || waits {
			return err
		}
	}
	if until, is := w.paused(p.ID); is {
		return w.Store.PostponeRevocation(w.ctx, e.Tag, until.Add(growing(1)))
	}
	return w.call(p, held)
}

// waits leaves a revocation alone while another connection needs the grant.
func (w *Worker) waits(held tokenstore.Held[tokenstore.Revocation]) (bool, error) {
	r := &held.Value
	if !r.Known {
		return true, w.end(held, string(tokenstore.UpstreamUserUnknown), "")
	}
	others, err := w.others(r)
	if err != nil {
		return false, err
	}
	if others {
		if w.Now().Sub(r.Ended) >= tokenstore.RevocationKept {
			return true, w.end(held, outcomeDropped, "")
		}
		err := w.Store.WaitRevocation(w.ctx, held, w.Now().Add(lookAgain))
		if errors.Is(err, tokenstore.ErrExists) {
			return true, w.end(held, outcomeDropped, "")
		}
		if err != nil {
			return true, err
		}
		// Who ended the last of the others since has not found this one waiting.
		if others, err = w.others(r); err != nil || others {
			return true, err
		}
	}
	return false, w.Store.WakeRevocations(w.ctx, r.User)
}

// others reports whether the user has another connection of the same OAuth client.
func (w *Worker) others(r *tokenstore.Revocation) (found bool, err error) {
	err = w.Store.OfUser(w.ctx, r.User, func(c *tokenstore.ConnectionInfo) bool {
		found = found || !c.Ended && provider.SameClient(c.Destination, r.Destination)
		return !found
	})
	return found, err
}

// call asks the provider, once.
func (w *Worker) call(p *provider.Provider, held tokenstore.Held[tokenstore.Revocation]) error {
	held, err := w.Store.TakeRevocation(w.ctx, held)
	if err != nil {
		return err // somebody else was first, or there are newer tokens
	}
	r := &held.Value
	ctx, cancel := context.WithTimeout(w.ctx, callTime)
	defer cancel()
	done, err := w.OAuth.RevokeTokens(ctx, p, r.Refresh, r.Access, p.Revocation == provider.RevokeEach)
	if err == nil {
		w.answered(p.ID)
		return w.end(held, string(done), "")
	}
	said := "no answer"
	e, _ := errors.AsType[*provider.ExchangeError](err)
	if e != nil {
		said = e.Said()
	}
	if e == nil || e.Temporary {
		w.silent(p.ID)
	} else {
		w.answered(p.ID)
	}
	w.Observe(p.ID, outcomeFailed)
	if w.Now().Sub(r.Due) >= giveUp {
		return w.end(held, outcomeGivenUp, said)
	}
	again := growing(r.Tries)
	w.Logger.Warn("upstream grant not revoked yet", "provider_id", p.ID, "upstream_error", said, "tries", r.Tries, "again_in", again.Round(time.Second).String())
	return w.Store.ReturnRevocation(w.ctx, held, w.Now().Add(again))
}

// end forgets the tokens, and says what became of the grant. What was said is of
// tokens that were replaced meanwhile if it is not forgotten: those have their turn.
func (w *Worker) end(held tokenstore.Held[tokenstore.Revocation], outcome, upstream string) error {
	err := w.Store.EndRevocation(w.ctx, held)
	if err != nil && !errors.Is(err, tokenstore.ErrChanged) {
		return err // it is done again: no harm
	}
	r := &held.Value
	id := w.idOf(r.Provider)
	w.Observe(id, outcome)
	whose := tokenstore.ConnectionRef{Agent: r.Agent, User: r.User, Provider: r.Provider}
	switch outcome {
	case string(provider.RevokedNow), string(provider.RevokedGone):
		w.record(audit.ConnectionRevoked, whose, outcome, "")
	case outcomeGivenUp, outcomeDropped, outcomeMoved:
		w.Logger.Error("upstream grant not revoked", "provider_id", id, "reason", outcome, "upstream_error", upstream, "tries", r.Tries,
			"hint", "the user's grant may be alive at the provider: revoke it there")
		w.record(audit.RevocationFailed, whose, outcome, upstream)
	}
	return nil
}

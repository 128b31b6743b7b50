package athflow

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

const (
	healTries = 8
	// healPause is between tries to store new tokens while Redis is away.
	healPause = 200 * time.Millisecond
)

// heal trades the provider's code for new tokens, and puts them in the place of
// those that the provider has ended, if it is the same user who allowed it, and if
// nobody has ended the connection meanwhile. Else the connection stays as it is.
func (f *Flow) heal(ctx context.Context, v *visit, p *provider.Provider, code ath.Secret, w http.ResponseWriter, r *http.Request) error {
	h := &healing{visit: v, of: *v.healing(), stored: true}
	healthy, err := f.lookAt(ctx, h) // before there are tokens that somebody has to take back
	if why, is := errors.AsType[unhealed](err); is {
		return f.endHealing(ctx, v, w, r, why, "")
	}
	if err != nil {
		return err
	}
	if healthy {
		return f.closeHealing(ctx, h, w, healAlready)
	}
	s := v.session
	asked := p.Asked(s.Requested, s.Shared)
	tokens, err := f.OAuth.Exchange(ctx, p, provider.Redemption{Code: code, Verifier: upstreamVerifier(s, v.nonce), RedirectURI: s.CallbackURL, Scopes: asked})
	came := time.Now() // monotonic: an order, not a date
	if err != nil {
		refused, is := errors.AsType[*provider.ExchangeError](err)
		if !is {
			return err
		}
		f.Logger.WarnContext(ctx, "the authorization server gave no grant", "decision_id", v.ID, "provider_id", p.ID, "upstream_error", refused.Said())
		return f.endHealing(ctx, v, w, r, healFailed, refused.Said())
	}
	if !tokens.ScopesGiven {
		tokens.Scopes = asked
	}
	outcome, effective, err := f.putTokens(ctx, h, tokens, came)
	if err != nil {
		f.Logger.ErrorContext(ctx, "new tokens not stored", "decision_id", v.ID, "provider_id", p.ID, "reason", tokenstore.Reason(err),
			"hint", "the user allowed the agent again, and redis did not take it: the agent gets another link with its next call")
		return err
	}
	if outcome == healDone {
		v.Event.Kind, v.Event.UserID, v.Event.Effective = audit.ConnectionHealed, s.User, effective
		if err := f.Commit(v.Call); err != nil {
			f.unheal(ctx, h, tokens, came)
			return err
		}
	}
	switch outcome {
	case healDone, healAlready:
		return f.closeHealing(ctx, h, w, outcome)
	}
	return f.endHealing(ctx, v, w, r, outcome, "")
}

// putTokens stores the tokens that a user has just allowed, or has the provider told
// that they are not taken. Without healDone the connection is as it was.
func (f *Flow) putTokens(ctx context.Context, h *healing, t provider.Tokens, came time.Time) (unhealed, ath.Scopes, error) {
	if why := f.mayHeal(h.session, &h.state.Connection, &t); why != "" {
		f.giveBack(ctx, h, t, came)
		return why, nil, nil
	}
	end, err := f.Store.UserEnd(ctx, h.session.User, h.session.Provider)
	if err != nil {
		return "", nil, err
	}
	if end.At.After(h.session.Created) {
		f.giveBack(ctx, h, t, came)
		return healEnded, nil, nil
	}
	for try := 1; ; try++ {
		next := healedBy(h.state.Connection, t, f.Now().UTC())
		next.Bound = h.provider.Bound() // the user has just agreed to it
		err := f.Store.Heal(ctx, &h.state, next, came)
		switch {
		case err == nil:
			return healDone, h.scopes.Intersect(next.Scopes), nil
		case errors.Is(err, tokenstore.ErrExists): // another consent of the user's came after this one
			f.giveBack(ctx, h, t, came)
			return healAlready, nil, nil
		case try == healTries, !errors.Is(err, tokenstore.ErrChanged) && !errors.Is(err, tokenstore.ErrUnavailable):
			return "", nil, err
		case errors.Is(err, tokenstore.ErrUnavailable) && !pause(ctx, healPause):
			return "", nil, err
		}
		_, looked := f.lookAt(ctx, h)
		switch why, is := errors.AsType[unhealed](looked); {
		case is:
			f.giveBack(ctx, h, t, came)
			return why, nil, nil
		case errors.Is(looked, tokenstore.ErrUnavailable):
		case looked != nil:
			return "", nil, looked
		case h.state.Connection.Access.Equal(t.Access.Reveal()): // a first try, whose answer was lost
			return healDone, h.session.Requested.Intersect(h.state.Connection.Scopes), nil
		}
	}
}

// mayHeal says what keeps tokens from being those of the connection's user; "":
// nothing does.
func (f *Flow) mayHeal(s *tokenstore.Session, before *tokenstore.Connection, t *provider.Tokens) unhealed {
	subject := before.RefreshStatus.Subject
	switch {
	case t.User == "" || !t.UserProven:
		return healUnproven
	case t.User != s.User, subject != "" && t.Subject != "" && t.Subject != subject:
		return healOtherUser
	case len(s.Requested.Intersect(t.Scopes)) == 0:
		return healNoScope
	}
	return ""
}

// healedBy is a connection with the tokens of a new consent. Scopes may become
// fewer, never more.
func healedBy(c tokenstore.Connection, t provider.Tokens, now time.Time) tokenstore.Connection {
	status := tokenstore.RefreshStatus{Refreshed: now, RefreshExpires: t.RefreshExpires, Subject: t.Subject, Narrowed: c.RefreshStatus.Narrowed}
	if status.Subject == "" {
		status.Subject = c.RefreshStatus.Subject
	}
	left := c.Scopes.Intersect(t.Scopes)
	status.Narrowed = status.Narrowed || len(left) < len(c.Scopes)
	c.Access, c.Refresh, c.Expires, c.Scopes, c.Ended, c.RefreshStatus = t.Access, t.Refresh, t.Expires, left, false, status
	return c
}

// giveBack has the provider told that what a user has just allowed is not taken
// (V-5). It waits there for what else that user has: whatever harms another
// connection is not done. It stands below a tag of its own, since the connection
// goes on without it. Where the server keeps one grant per user, this consent may have
// ended the tokens of the agents whom that user has allowed: they get these.
func (f *Flow) giveBack(ctx context.Context, h *healing, t provider.Tokens, came time.Time) {
	ctx, cancel := undoing(ctx)
	defer cancel()
	if h.session.Shared && t.UserProven && t.User != "" {
		kept, err := f.Store.KeepShared(ctx, t.User, h.session.Provider, h.provider.Destination(), came, func(c tokenstore.Connection) tokenstore.Connection {
			return healedBy(c, t, f.Now().UTC())
		})
		if kept {
			return
		}
		if err != nil {
			f.Logger.WarnContext(ctx, "tokens of a shared connection not replaced", "decision_id", h.ID, "provider_id", h.session.Provider, "reason", tokenstore.Reason(err),
				"hint", "the provider may have ended them with a consent that was not taken: the user's agents ask for a new one")
		}
	}
	tag := ath.NewTag()
	c := tokenstore.Connection{
		Agent: h.session.AgentID, User: t.User, Provider: h.session.Provider, Access: t.Access, Refresh: t.Refresh,
		Destination: h.provider.Destination(), Bound: h.provider.Bound(),
	}
	if c.User == "" {
		c.User = string(tag) // T-7
	}
	if _, err := f.Store.HandRevocation(ctx, tag, &c); err != nil {
		f.Logger.WarnContext(ctx, "upstream grant not revoked", "decision_id", h.ID, "provider_id", c.Provider, "reason", tokenstore.Reason(err),
			"hint", "the user allowed what was not taken; the grant lives on at the provider until it expires there")
	}
}

// unheal puts the tokens back that the provider has ended, where what was done cannot
// be put on record.
func (f *Flow) unheal(ctx context.Context, h *healing, t provider.Tokens, came time.Time) {
	ctx, cancel := undoing(ctx)
	defer cancel()
	now, err := f.Store.HealState(ctx, &h.of, termsOf(h.provider))
	if err == nil && now.Connection.Access.Equal(t.Access.Reveal()) {
		err = f.Store.Heal(ctx, &now, h.state.Connection, time.Now())
	}
	if err != nil {
		f.Logger.ErrorContext(ctx, "healed connection not put back", "decision_id", h.ID, "provider_id", h.session.Provider, "reason", tokenstore.Reason(err),
			"hint", "no event says that the user has allowed the agent again: end the connection, or look for this decision_id")
		return
	}
	f.giveBack(ctx, h, t, came)
}

// closeHealing uses the session up that has healed its connection, or found it
// healed. What it has done stays if that fails.
func (f *Flow) closeHealing(ctx context.Context, h *healing, w http.ResponseWriter, outcome unhealed) error {
	v := h.visit
	f.ObserveHealing(f.ownID(v.session.Provider), string(outcome))
	next := *v.session
	next.Phase, next.Code, next.Verifier = tokenstore.Consumed, v.ownCode().digest(), ath.Secret{}
	if _, err := f.Store.SwapSession(ctx, v.held, next); err != nil {
		f.Logger.DebugContext(ctx, "a session that has healed its connection is not closed", "error", err)
	}
	if err := f.Store.ReleaseSession(ctx, next.Connection, v.tag); err != nil {
		f.Logger.DebugContext(ctx, "a session that has ended still counts as open", "error", err)
	}
	return f.showHealed(w, &next)
}

// pause reports false where ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

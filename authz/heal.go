package authz

import (
	"errors"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// A Healer seals the handles of links by which users give connections new tokens
// (P-10). [tokenstore.Store] is the one that serves.
type Healer interface {
	SealHealing(origin string, h tokenstore.Healing) (string, error)
}

// healingHint adds to the hint of a refusal where the user can heal the connection
// that it is about, if anybody may. It seals, and stores nothing.
func (q *evaluation) healingHint(of *hint) *hint {
	if q.explains || q.notHealed() != "" {
		return of
	}
	handle, err := q.Healer.SealHealing(q.ConsentURL, tokenstore.NewHealing(q.reading.Grant, q.reading.Agent.Generation, q.now))
	if err != nil {
		if !errors.Is(err, tokenstore.ErrHealingTooLong) {
			q.Logger.ErrorContext(q.ctx, "no link to heal a connection", "decision_id", q.request.ID, "error", err)
		}
		return of
	}
	with := hint{heal: q.ConsentURL + ath.HealPath + handle}
	if of != nil {
		with.discovery = of.discovery
	}
	return &with
}

// notHealed says why a refusal carries no link; "": it does. Token, agent id and
// standing have held by the rules before.
func (q *evaluation) notHealed() string {
	if q.Healer == nil || q.ConsentURL == "" {
		return "nobody heals connections here"
	}
	return q.reading.Grant.NotHealed(q.reading.Connection, q.provider)
}

// describeHealing says, of a refusal that may carry a link, whether it does.
func (q *evaluation) describeHealing() string {
	if why := q.notHealed(); why != "" {
		return "; the refusal carries no authorization_url: " + why
	}
	return "; the refusal carries an authorization_url, by which the same user heals it"
}

package client

import (
	"context"
	"errors"
	"time"

	"github.com/athd/athd/ath"
)

// A cure is what one call has come through: what helps against a refusal is
// tried once, but for waiting for the user to heal the grant.
type cure struct {
	access                 *Access
	token                  Token // that was refused
	wait                   backoff
	until                  time.Time // when waiting for the user ends; zero: nobody was shown a link
	renewed, loaded, asked bool
}

// of returns nil where the call is worth another try, and else what to tell the
// caller. Only a refusal that is the server's own leads anywhere (P-9).
func (c *cure) of(ctx context.Context, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || !e.own {
		return err
	}
	a := c.access
	_, isRenewal := errors.AsType[*RenewalError](err)
	switch {
	case e.detail("reason") == reauthorizationRequired:
		return c.heal(ctx, e, err)
	case e.Code == ath.TokenExpired && !isRenewal && !c.renewed && !c.token.Renewal.IsZero():
		c.renewed = true
		if failed := a.renew(ctx, c.token); failed != nil {
			return c.of(ctx, failed)
		}
		return nil
	case isLost(e.Code) && a.config.Load != nil && !c.loaded:
		c.loaded = true
		if found, failed := a.reload(ctx, c.token); found || failed != nil {
			return failed
		}
	case e.Code == ath.ScopeNotApproved && a.config.Ask != nil && !isRenewal && !c.asked:
		more, is := nextOf(e, c.token)
		if !is {
			return err
		}
		c.asked = true
		return a.ask(ctx, more, e)
	}
	return err
}

func (c *cure) heal(ctx context.Context, e *Error, err error) error {
	a := c.access
	if a.config.Heal == nil || !c.until.IsZero() && !a.client.now().Before(c.until) {
		return err
	}
	link, wrong := a.client.healingLink(ctx, e, c.token.Provider)
	if wrong != nil {
		return wrong
	}
	if link == "" {
		return err
	}
	until, failed := a.heal(ctx, link)
	if failed != nil {
		return failed
	}
	if c.until.IsZero() { // others may pass, and be shown a link again, meanwhile
		c.until = until
	}
	c.renewed = false // the token may have ended while the user was at it
	if !c.wait.pause(ctx, c.until.Sub(a.client.now())) {
		return err
	}
	return nil
}

// reload takes over what another process has kept, if that is something else.
func (a *Access) reload(ctx context.Context, failed Token) (found bool, err error) {
	err = a.renewing.do(ctx, func(ctx context.Context) error {
		if now := a.Token(); !now.Access.Equal(failed.Access.Reveal()) {
			return nil
		}
		_, err := a.load(ctx, failed)
		return err
	})
	now := a.Token()
	return err == nil && !now.Access.Equal(failed.Access.Reveal()), err
}

// A backoff is how long to wait between two looks at something that a person
// does.
type backoff struct{ next time.Duration }

const (
	firstPause = time.Second
	lastPause  = 15 * time.Second
)

func newBackoff() backoff { return backoff{firstPause} }

// pause waits, and says whether there is time left for another look.
func (b *backoff) pause(ctx context.Context, left time.Duration) bool {
	if left <= 0 {
		return false
	}
	timer := time.NewTimer(min(b.next, left))
	defer timer.Stop()
	b.next = min(b.next*3/2, lastPause)
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

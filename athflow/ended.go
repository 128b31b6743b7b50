package athflow

import (
	"context"
	"errors"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// userEnded is why a session ended whose user an operator ended meanwhile, in its
// record and event.
const userEnded = "user_ended"

// errUserEnded: what the user has just allowed was ended before it came here.
var errUserEnded = errors.New("an operator ended what this user allowed, after the authorization began")

// putConnection stores what a user has just allowed, unless an operator ended that
// user since the authorization began. That can happen up to the very moment: who
// ends a user writes the mark first, and then ends what is stored, so that of
// both one sees the other.
//
// Until a token is made of it, the connection lives as long as the session.
func (f *Flow) putConnection(ctx context.Context, v *visit, c tokenstore.Connection, put func() (ath.Tag, error)) (ath.Tag, error) {
	before, err := f.Store.UserEnd(ctx, c.User, c.Provider)
	if err != nil {
		return "", err
	}
	if before.At.After(v.session.Created) {
		v.Event.UserID = c.User
		return "", errUserEnded
	}
	tag, err := put()
	if err != nil {
		return "", err
	}
	after, err := f.Store.UserEnd(ctx, c.User, c.Provider)
	if err != nil || after == before {
		return tag, err
	}
	if _, err := f.Store.EndConnection(ctx, tag, f.Now().UTC()); err != nil {
		return "", err // no token is made of it, since the session does not go on
	}
	v.Event.UserID = c.User
	return "", errUserEnded
}

// discard has the provider told that what the user has just allowed is not taken
// (V-5): no token is made of it.
func (f *Flow) discard(ctx context.Context, v *visit, tag ath.Tag, c *tokenstore.Connection) {
	ctx, cancel := undoing(ctx)
	defer cancel()
	end, err := f.Store.EndConnection(ctx, tag, f.Now().UTC()) // it may have been stored nevertheless
	if err == nil && !end.Was {
		_, err = f.Store.HandRevocation(ctx, tag, c)
	}
	if err != nil {
		f.Logger.WarnContext(ctx, "upstream grant not revoked", "decision_id", v.ID, "provider_id", c.Provider, "reason", tokenstore.Reason(err),
			"hint", "the user allowed what could not be stored; the grant lives on at the provider until it expires there")
	}
}

// undoing is the time for what must be undone though the request's own is over, or its
// client is gone: what is left of it, and at least a second.
func undoing(ctx context.Context) (context.Context, context.CancelFunc) {
	left := time.Second
	if end, ok := ctx.Deadline(); ok {
		left = max(left, time.Until(end))
	}
	return context.WithTimeout(context.WithoutCancel(ctx), left)
}

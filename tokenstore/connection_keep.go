package tokenstore

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// A KeepIndex has connections whose refresh tokens may end if nobody uses them:
// tags, by when they are to be used, or looked at before that. It decides nothing,
// and may be lost.
type KeepIndex string

const (
	// KeepEnding has those of which the provider said when they end.
	KeepEnding KeepIndex = "ath:{keep-alive}:due"
	// KeepStanding has those that an agent can renew its access by: whatever the
	// provider said, they must not end for not being used. An athd of before them
	// knows nothing of it, and takes nothing out.
	KeepStanding KeepIndex = "ath:{keep-alive}:standing"
)

// KeepIndexes are all of them.
func KeepIndexes() []KeepIndex { return []KeepIndex{KeepEnding, KeepStanding} }

const (
	// maxKeepMargin is how long before its end a refresh token is used at the
	// earliest; else when two thirds of its life are over.
	maxKeepMargin = 24 * time.Hour
	// keepLook is when a connection in the index is looked at next at the latest. A
	// connection lives for as long as agents' tokens for it, mostly an hour, and its
	// refresh token for months: what has ended must not stay for those.
	keepLook = time.Hour
	// minKept is how long a refresh token must live so that it is surely used
	// before its end, though nobody calls.
	minKept = 3 * time.Minute
)

// Over reports whether the refresh token has ended, by what the provider said.
func (r *RefreshStatus) Over(now time.Time) bool {
	return !r.RefreshExpires.IsZero() && !now.Before(r.RefreshExpires)
}

// KeepBy is when the refresh token is to be used, so that it does not end while
// nobody calls. Zero: it has no known end, or nothing can be done.
func (c *Connection) KeepBy() time.Time {
	if c.Ended || c.Refresh.IsZero() {
		return time.Time{}
	}
	return c.RefreshStatus.keepBy(c.Created)
}

// KeepBy is that of the connection.
func (i *ConnectionInfo) KeepBy() time.Time {
	if i.Ended || !i.Refreshable {
		return time.Time{}
	}
	return i.RefreshStatus.keepBy(i.Created)
}

func (r *RefreshStatus) keepBy(created time.Time) time.Time {
	if r.RefreshExpires.IsZero() || !r.Refused.IsZero() {
		return time.Time{}
	}
	return r.RefreshExpires.Add(-min(maxKeepMargin, r.refreshLife(created)/3))
}

func (r *RefreshStatus) refreshLife(created time.Time) time.Duration {
	since := r.Refreshed
	if since.IsZero() {
		since = created
	}
	return max(0, r.RefreshExpires.Sub(since))
}

// Kept reports whether the refresh token lives for so long that it is used ahead
// of its end.
func (c *Connection) Kept() bool {
	return c.RefreshStatus.RefreshExpires.IsZero() || c.RefreshStatus.refreshLife(c.Created) >= minKept
}

// Waits reports whether an agent has a token that lives longer than the user's access
// token or, where standing consents count, one of those.
func (i *ConnectionInfo) Waits(standing bool) bool {
	until := i.Until
	if standing && i.RenewableUntil.After(until) {
		until = i.RenewableUntil
	}
	return !until.IsZero() && !i.Expires.IsZero() && i.Expires.Before(until)
}

// StandsUntil is when the last standing consent ends by the terms that hold today and
// its own, if it is not used. The zero time: none stands.
func (i *ConnectionInfo) StandsUntil(today ath.RenewalTerms) (until time.Time) {
	for n := range i.Standing {
		if end, _ := i.Standing[n].Ends(today); end.After(until) {
			until = end
		}
	}
	return until
}

// Ref names the connection, and whose it is.
func (i *ConnectionInfo) Ref() ConnectionRef {
	return ConnectionRef{Tag: i.Tag, Agent: i.Agent, User: i.User, Provider: i.Provider, Epoch: i.Epoch}
}

// UnusedSince is when the refresh token was used last, or came. Zero: there is none,
// or it is of no use any more.
func (c *Connection) UnusedSince() time.Time {
	if c.Ended || c.Refresh.IsZero() {
		return time.Time{}
	}
	return c.RefreshStatus.unusedSince(c.Created)
}

// UnusedSince is that of the connection.
func (i *ConnectionInfo) UnusedSince() time.Time {
	if i.Ended || !i.Refreshable {
		return time.Time{}
	}
	return i.RefreshStatus.unusedSince(i.Created)
}

func (r *RefreshStatus) unusedSince(created time.Time) time.Time {
	switch {
	case !r.Refused.IsZero():
		return time.Time{}
	case r.Refreshed.IsZero():
		return created
	}
	return r.Refreshed
}

// noteKeep enters a connection into the index, if its refresh token has an end.
// The result reads what came of it.
func (s *Store) noteKeep(ctx context.Context, batch redis.Pipeliner, tag ath.Tag, c *Connection) func() error {
	by := c.KeepBy()
	if by.IsZero() {
		return func() error { return nil }
	}
	ran := s.scripts.noteKeep.plain.Eval(ctx, batch, []string{string(KeepEnding)}, string(tag), s.lookBy(by).UnixMilli(), s.ttl(c.RefreshStatus.RefreshExpires.Add(clockSkew)))
	return ran.Err
}

// noteStanding enters a connection that an agent can renew its access by, until the
// given time, into the index of those: to be looked at now, since when it is due is
// the provider's matter. The result reads what came of it.
func (s *Store) noteStanding(ctx context.Context, batch redis.Pipeliner, tag ath.Tag, until time.Time) func() error {
	ran := s.scripts.noteKeep.plain.Eval(ctx, batch, []string{string(KeepStanding)}, string(tag), s.now().UnixMilli(), s.ttl(until.Add(clockSkew)))
	return ran.Err
}

// lookBy is when a connection is looked at that is due by a time.
func (s *Store) lookBy(by time.Time) time.Time {
	if latest := s.now().Add(keepLook); by.After(latest) {
		return latest
	}
	return by
}

// KeepDue returns connections whose refresh tokens are to be used by a time, and
// those that it is time to look at, since they may have ended; first those that are
// due first.
func (s *Store) KeepDue(ctx context.Context, in KeepIndex, by time.Time, offset, limit int) (tags []ath.Tag, err error) {
	err = s.do(ctx, "keep_due", func(ctx context.Context) error {
		var found *redis.StringSliceCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			found = batch.ZRangeArgs(ctx, redis.ZRangeArgs{
				Key: string(in), ByScore: true, Start: "-inf", Stop: strconv.FormatInt(by.UnixMilli(), 10), Offset: int64(offset), Count: int64(limit),
			})
		})
		if err != nil {
			return err
		}
		members, err := found.Result()
		tags = nil
		for _, m := range members {
			tags = append(tags, ath.Tag(m))
		}
		return err
	})
	return tags, err
}

// ConnectionsOf reads connections by their tags. Those that have ended, or do not
// open, are not in the result.
func (s *Store) ConnectionsOf(ctx context.Context, tags []ath.Tag) (map[ath.Tag]ConnectionInfo, error) {
	read, err := s.readConnections(ctx, tags, false)
	if err != nil {
		return nil, err
	}
	out := map[ath.Tag]ConnectionInfo{}
	for i := range read {
		if read[i].there {
			out[tags[i]] = read[i].info
		}
	}
	return out, nil
}

// KeepLater says when connections are to be looked at again, which is in an hour at
// the latest; the zero time: no more, until they have a new token.
func (s *Store) KeepLater(ctx context.Context, in KeepIndex, at map[ath.Tag]time.Time) error {
	if len(at) == 0 {
		return nil
	}
	return s.do(ctx, "keep_later", func(ctx context.Context) error {
		var asked []redis.Cmder
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			for tag, t := range at {
				if t.IsZero() {
					asked = append(asked, batch.ZRem(ctx, string(in), string(tag)))
				} else {
					asked = append(asked, batch.ZAddXX(ctx, string(in), redis.Z{Score: float64(s.lookBy(t).UnixMilli()), Member: string(tag)}))
				}
			}
		})
		for _, a := range asked {
			err = errors.Join(err, a.Err())
		}
		return err
	})
}

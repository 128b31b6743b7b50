package tokenstore

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// keepKey is the index of connections whose refresh tokens end if nobody uses
// them: tags, by when they are to be used, or looked at before that. It decides
// nothing, and may be lost.
const keepKey = "ath:{keep-alive}:due"

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
func (r *Renewal) Over(now time.Time) bool {
	return !r.RefreshExpires.IsZero() && !now.Before(r.RefreshExpires)
}

// KeepBy is when the refresh token is to be used, so that it does not end while
// nobody calls. Zero: it has no known end, or nothing can be done.
func (c *Connection) KeepBy() time.Time {
	if c.Ended || c.Refresh.IsZero() {
		return time.Time{}
	}
	return c.Renewal.keepBy(c.Created)
}

// KeepBy is that of the connection.
func (i *ConnectionInfo) KeepBy() time.Time {
	if i.Ended || !i.Refreshable {
		return time.Time{}
	}
	return i.Renewal.keepBy(i.Created)
}

func (r *Renewal) keepBy(created time.Time) time.Time {
	if r.RefreshExpires.IsZero() || !r.Refused.IsZero() {
		return time.Time{}
	}
	return r.RefreshExpires.Add(-min(maxKeepMargin, r.refreshLife(created)/3))
}

func (r *Renewal) refreshLife(created time.Time) time.Duration {
	since := r.Refreshed
	if since.IsZero() {
		since = created
	}
	return max(0, r.RefreshExpires.Sub(since))
}

// Kept reports whether the refresh token lives for so long that it is used ahead
// of its end.
func (c *Connection) Kept() bool {
	return c.Renewal.RefreshExpires.IsZero() || c.Renewal.refreshLife(c.Created) >= minKept
}

// Waits reports whether an agent has a token that lives longer than the user's
// access token.
func (i *ConnectionInfo) Waits() bool {
	return i.Tokens > 0 && !i.Expires.IsZero() && i.Expires.Before(i.Until)
}

// Ref names the connection, and whose it is.
func (i *ConnectionInfo) Ref() ConnectionRef {
	return ConnectionRef{Tag: i.Tag, Agent: i.Agent, User: i.User, Provider: i.Provider, Epoch: i.Epoch}
}

// noteKeep enters a connection into the index, if its refresh token has an end.
// The result reads what came of it.
func (s *Store) noteKeep(ctx context.Context, batch redis.Pipeliner, tag ath.Tag, c *Connection) func() error {
	by := c.KeepBy()
	if by.IsZero() {
		return func() error { return nil }
	}
	ran := s.scripts.noteKeep.plain.Eval(ctx, batch, []string{keepKey}, string(tag), s.lookBy(by).UnixMilli(), s.ttl(c.Renewal.RefreshExpires.Add(clockSkew)))
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
func (s *Store) KeepDue(ctx context.Context, by time.Time, offset, limit int) (tags []ath.Tag, err error) {
	err = s.do(ctx, "keep_due", func(ctx context.Context) error {
		var found *redis.StringSliceCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			found = batch.ZRangeArgs(ctx, redis.ZRangeArgs{
				Key: keepKey, ByScore: true, Start: "-inf", Stop: strconv.FormatInt(by.UnixMilli(), 10), Offset: int64(offset), Count: int64(limit),
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
func (s *Store) KeepLater(ctx context.Context, at map[ath.Tag]time.Time) error {
	if len(at) == 0 {
		return nil
	}
	return s.do(ctx, "keep_later", func(ctx context.Context) error {
		var asked []redis.Cmder
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			for tag, t := range at {
				if t.IsZero() {
					asked = append(asked, batch.ZRem(ctx, keepKey, string(tag)))
				} else {
					asked = append(asked, batch.ZAddXX(ctx, keepKey, redis.Z{Score: float64(s.lookBy(t).UnixMilli()), Member: string(tag)}))
				}
			}
		})
		for _, a := range asked {
			err = errors.Join(err, a.Err())
		}
		return err
	})
}

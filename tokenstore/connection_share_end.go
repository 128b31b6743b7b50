package tokenstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// endShare ends what one agent has of a connection that the user's agents share, and
// the connection with the last of them. It reports whether it is shared, and
// whether the agent had anything of it.
func (s *Store) endShare(ctx context.Context, agentID string, tag ath.Tag, at time.Time) (isShared, ended bool, err error) {
	connection, err := key(tag, string(connectionKind))
	if err != nil {
		return false, false, nil //nolint:nilerr // not an entry that athd wrote
	}
	_, holders, err := s.holdersOf(ctx, connection, tag)
	if err != nil {
		return false, false, err
	}
	if isShared, err = s.isShared(ctx, tag, holders); err != nil || !isShared {
		return false, false, err
	}
	index, _ := key(tag, string(grantsKind))
	// First: it must not hold what the last grant is to end.
	var held *redis.IntCmd
	err = s.do(ctx, "end_share", func(ctx context.Context) error {
		if err := s.server.ask(ctx, func(batch redis.Pipeliner) { held = batch.ZRem(ctx, index, holdOf(agentID)) }); err != nil {
			return err
		}
		return held.Err()
	})
	if err != nil {
		return true, false, err
	}
	ended = held.Val() > 0
	// Twice: a grant may have been put by a renewal that had not ended yet.
	for range 2 {
		for _, h := range holders {
			if h.agent != agentID {
				continue
			}
			if err := s.endHolder(ctx, h, at); err != nil {
				return true, ended, err
			}
			ended = true
		}
		if _, holders, err = s.holdersOf(ctx, connection, tag); err != nil {
			return true, ended, err
		}
	}
	return true, ended, nil
}

// isShared asks what the connection is kept for and, where there is nothing, the owner.
func (s *Store) isShared(ctx context.Context, tag ath.Tag, holders []holder) (bool, error) {
	for _, h := range holders {
		return h.ref.Agent == "", nil
	}
	ownedBy, err := ownerKey(tag)
	if err != nil {
		return false, err
	}
	shared := false
	err = s.do(ctx, "owner", func(ctx context.Context) error {
		var got *redis.StringCmd
		if err := s.server.ask(ctx, func(batch redis.Pipeliner) { got = batch.Get(ctx, ownedBy) }); err != nil {
			return err
		}
		raw, err := got.Result()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		o, unread := s.openOwner(ownedBy, raw)
		shared = unread == nil && o.Agent == ""
		return err
	})
	return shared, err
}

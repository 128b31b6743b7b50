package tokenstore

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// RemoveAgent deletes a registration as it was read. ErrChanged:
// somebody else wrote it meanwhile. One that is gone already counts as removed.
// Every decision that starts after RemoveAgent has returned nil refuses the
// agent's tokens; [Store.EndConnections] deletes the users' tokens behind them. It waits for
// replicas as [Config].WaitReplicas says.
func (s *Store) RemoveAgent(ctx context.Context, old Held[Agent]) error {
	if old.key == "" {
		return errNotHeld
	}
	keys, args := s.feed.announcing([]string{old.key}, []any{old.raw}, announce(AgentChanged, ath.AgentTag(old.Value.ID), ""))
	return s.do(ctx, "remove_agent", func(ctx context.Context) error {
		return s.confirmed(ctx, s.scripts.remove, ErrChanged, keys, args...)
	})
}

// EndConnections revokes every grant and renewal of an agent, deletes each of its connections
// and returns how many there were. Grants leave tombstones, so that their tokens
// are refused as revoked. It is several operations; after an error, or
// where a connection is made at the same time, some may be left: those end
// with their last grant, within the hour, or, kept for a renewal that nobody can
// use any more, when that is over; and calling again ends them too.
// What must be dead at once needs [Store.SwapAgent] or [Store.RemoveAgent].
func (s *Store) EndConnections(ctx context.Context, agentID string, at time.Time) (ended int, err error) {
	index, err := key(ath.AgentTag(agentID), string(connectionsKind))
	if err != nil {
		return 0, err
	}
	var tags []string
	err = s.do(ctx, "connections", func(ctx context.Context) (err error) {
		var found *redis.StringSliceCmd
		if err := s.server.ask(ctx, func(batch redis.Pipeliner) { found = batch.ZRange(ctx, index, 0, -1) }); err != nil {
			return err
		}
		tags, err = found.Result()
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, tag := range tags {
		was, err := s.endConnection(ctx, agentID, ath.Tag(tag), at)
		if err != nil {
			return ended, err
		}
		ended += was
		// Only now: what could not be ended must be found again.
		err = s.do(ctx, "forget_connection", func(ctx context.Context) error {
			return s.askInt(ctx, func(batch redis.Pipeliner) *redis.IntCmd { return batch.ZRem(ctx, index, tag) })
		})
		if err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// endConnection returns 1 if there was a connection, else 0. An entry that athd did
// not write may name another agent's: that one stays. Of one that a user's agents
// share, the agent's part ends.
func (s *Store) endConnection(ctx context.Context, agentID string, tag ath.Tag, at time.Time) (int, error) {
	switch isShared, ended, err := s.endShare(ctx, agentID, tag, at); {
	case err != nil:
		return 0, err
	case isShared && ended:
		return 1, nil
	case isShared:
		return 0, nil
	}
	end, err := s.endWith(ctx, tag, at, func(of string) bool { return of == agentID })
	if err != nil || !end.Was {
		return 0, err
	}
	return 1, nil
}

// askInt runs one command and ignores its answer.
func (s *Store) askInt(ctx context.Context, command func(redis.Pipeliner) *redis.IntCmd) error {
	var ran *redis.IntCmd
	if err := s.server.ask(ctx, func(batch redis.Pipeliner) { ran = command(batch) }); err != nil {
		return err
	}
	return ran.Err()
}

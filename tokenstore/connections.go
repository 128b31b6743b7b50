package tokenstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// PutConnection stores a user's OAuth tokens until the given time; a grant that
// is put later extends that to its own expiry. It is for a connection that is new:
// a record that exists is overwritten, with what a newer athd keeps in x.
// The connection is entered into the index of its agent's.
func (s *Store) PutConnection(ctx context.Context, tag ath.Tag, c Connection, until time.Time) error {
	key, err := key(tag, string(connectionKind))
	if err != nil {
		return err
	}
	plain, err := encodeConnection(c, nil)
	if err != nil {
		return err
	}
	sealed, err := s.keys.seal(connectionKind, key, plain, c.Agent, c.User, c.Provider)
	if err != nil {
		return err
	}
	note, err := s.note(c.Agent, tag, until)
	if err != nil {
		return err
	}
	return s.do(ctx, "put_connection", func(ctx context.Context) error {
		var noted *redis.Cmd
		var put *redis.StatusCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			noted = note(ctx, batch)
			put = batch.Set(ctx, key, sealed, time.Duration(s.ttl(until))*time.Millisecond)
		})
		if err != nil {
			return err
		}
		return errors.Join(put.Err(), noted.Err())
	})
}

// note enters a connection into the index of its agent's, so that
// [Store.EndConnections] finds it. It goes in one batch with what it points
// to, which is in another slot: after an error either may be there without the
// other. An entry that points to nothing is harmless, and no token was issued
// for a connection or grant whose write was not acknowledged.
func (s *Store) note(agentID string, tag ath.Tag, until time.Time) (func(context.Context, redis.Pipeliner) *redis.Cmd, error) {
	index, err := key(ath.AgentTag(agentID), string(connectionsKind))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, batch redis.Pipeliner) *redis.Cmd {
		return s.scripts.note.plain.Eval(ctx, batch, []string{index},
			string(tag), until.UnixMilli(), s.ttl(until.Add(clockSkew)), s.now().Add(-clockSkew).UnixMilli())
	}, nil
}

// openConnection opens a connection for one grant only: it must have been
// sealed for the same agent, user and provider. The result is shared.
func (s *Store) openConnection(key, raw string, g *Grant) (*Connection, error) {
	if c := s.connections.lookup(key, raw); c != nil && c.Agent == g.Agent && c.User == g.User && c.Provider == g.Provider {
		return c, nil
	}
	plain, err := s.keys.open(connectionKind, key, raw, g.Agent, g.User, g.Provider)
	if err != nil {
		return nil, err
	}
	c, _, err := decodeConnection(plain)
	if err != nil {
		return nil, err
	}
	s.connections.add(&decryptedRecord[Connection]{key: key, raw: raw, value: &c})
	return &c, nil
}

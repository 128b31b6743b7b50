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
// The connection is entered into the indexes of its agent's and its user's.
func (s *Store) PutConnection(ctx context.Context, tag ath.Tag, c Connection, until time.Time) error {
	key, err := key(tag, string(connectionKind))
	if err != nil {
		return err
	}
	if c.Agent == "" {
		return errors.New("store: a connection of one consent names its agent")
	}
	sealed, err := s.sealConnection(key, c.ref(tag), c, nil)
	if err != nil {
		return err
	}
	note, err := s.note(c.Agent, c.User, tag, until)
	if err != nil {
		return err
	}
	ownerKey, owner, err := s.sealOwner(tag, owner{Agent: c.Agent, User: c.User, Provider: c.Provider})
	if err != nil {
		return err
	}
	return s.do(ctx, "put_connection", func(ctx context.Context) error {
		var noted, kept func() error
		var put, owned *redis.StatusCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			ttl := time.Duration(s.ttl(until)) * time.Millisecond
			noted, kept = note(ctx, batch), s.noteKeep(ctx, batch, tag, &c)
			owned = batch.Set(ctx, ownerKey, owner, ttl)
			put = batch.Set(ctx, key, sealed, ttl)
		})
		if err != nil {
			return err
		}
		return errors.Join(put.Err(), owned.Err(), noted(), kept())
	})
}

// noting fills a batch, and says afterwards whether it went well.
type noting func(context.Context, redis.Pipeliner) func() error

// note enters a connection into the indexes of its agent's and its user's, so
// that [Store.EndConnections] and [Store.Connections] find it. It goes in one batch
// with what it points to, which is in another slot: after an error any of them may be
// there without the others. An entry that points to nothing is harmless, and no
// token was issued for a connection or grant whose write was not acknowledged.
// Without an agent, it is the user's only.
func (s *Store) note(agentID, user string, tag ath.Tag, until time.Time) (noting, error) {
	ofUser, err := key(s.keys.userTags(user)[0], string(userConnsKind))
	if err != nil {
		return nil, err
	}
	indexes := []string{ofUser}
	if agentID != "" {
		ofAgent, err := key(ath.AgentTag(agentID), string(connectionsKind))
		if err != nil {
			return nil, err
		}
		indexes = append(indexes, ofAgent)
	}
	return func(ctx context.Context, batch redis.Pipeliner) func() error {
		noted := make([]*redis.Cmd, 0, 2)
		for _, index := range indexes {
			noted = append(noted, s.scripts.note.plain.Eval(ctx, batch, []string{index},
				string(tag), until.UnixMilli(), s.ttl(until.Add(clockSkew)), s.now().Add(-clockSkew).UnixMilli()))
		}
		return func() error {
			var err error
			for _, n := range noted {
				err = errors.Join(err, n.Err())
			}
			return err
		}
	}, nil
}

// openConnection opens a connection for one grant only: it must have been
// sealed for the same agent, or for all agents if the grant says so, and for the
// same user and provider. The result is shared.
func (s *Store) openConnection(key, raw string, g *Grant) (*Connection, error) {
	agent := g.connectionAgent()
	if c := s.connections.lookup(key, raw); c != nil && c.Agent == agent && c.User == g.User && c.Provider == g.Provider {
		return c.in(g.Epoch), nil
	}
	c, _, err := s.openConnectionOf(key, raw, g.Ref())
	if err != nil {
		return nil, err
	}
	s.connections.add(&decryptedRecord[Connection]{key: key, raw: raw, value: &c})
	return c.in(g.Epoch), nil
}

// in is the connection for what was issued in an epoch: nil in another one, as after
// its end.
func (c *Connection) in(epoch string) *Connection {
	if c.Epoch != epoch {
		return nil
	}
	return c
}

func (s *Store) sealConnection(key string, ref ConnectionRef, c Connection, x extra) (string, error) {
	plain, err := encodeConnection(c, x)
	if err != nil {
		return "", err
	}
	return s.keys.seal(connectionKind, key, plain, ref.binding()...)
}

func (s *Store) openConnectionOf(key, raw string, ref ConnectionRef) (Connection, extra, error) {
	plain, err := s.open(connectionKind, key, raw, ref.binding()...)
	if err != nil {
		return Connection{}, nil, err
	}
	return decodeConnection(plain)
}

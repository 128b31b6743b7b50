package tokenstore

import (
	"context"
	"time"

	"github.com/athd/athd/ath"
)

// PutConnection stores a user's OAuth tokens until the given time; a grant
// that is put later makes them stay for as long as it lives. What is there is
// overwritten.
func (s *Store) PutConnection(ctx context.Context, tag ath.Tag, c Connection, until time.Time) error {
	key, err := key(tag, string(connectionKind))
	if err != nil {
		return err
	}
	plain, err := encodeConnection(c)
	if err != nil {
		return err
	}
	sealed, err := s.keys.seal(connectionKind, key, plain, c.Agent, c.User, c.Provider)
	if err != nil {
		return err
	}
	return s.do(ctx, "put_connection", func(ctx context.Context) error {
		return s.client.Set(ctx, key, sealed, time.Duration(s.ttl(until))*time.Millisecond).Err()
	})
}

// openConnection opens a connection for one grant only: it must have been
// sealed for the same agent, user and provider.
func (s *Store) openConnection(key, raw string, g *Grant) (Connection, error) {
	plain, err := s.keys.open(connectionKind, key, raw, g.Agent, g.User, g.Provider)
	if err != nil {
		return Connection{}, err
	}
	return decodeConnection(plain)
}

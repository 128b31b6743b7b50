package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// PutGrant stores what a token stands for, counts it among the grants of its
// connection and extends the connection's life to its own, in one step; it also
// enters the connection into the indexes of its agent's and its user's. ErrNotFound: the
// connection is gone, and nothing was stored.
func (s *Store) PutGrant(ctx context.Context, token ath.Token, g Grant) error {
	keys, err := keysOf(token)
	if err != nil {
		return err
	}
	if g.Connection != token.Tag() {
		return errors.New("store: a grant's token must carry the tag of its connection")
	}
	sealed, err := s.sealGrant(keys.grant, g, nil)
	if err != nil {
		return err
	}
	note, err := s.note(g.Agent, g.User, g.Connection, g.Expires)
	if err != nil {
		return err
	}
	ownerKey, owner, err := s.sealOwner(g.Connection, owner{Agent: g.connectionAgent(), User: g.User, Provider: g.Provider})
	if err != nil {
		return err
	}
	return s.do(ctx, "put_grant", func(ctx context.Context) error {
		var noted func() error
		var put *redis.Cmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			noted = note(ctx, batch)
			put = s.scripts.putGrant.plain.Eval(ctx, batch, []string{keys.connection, keys.grant, keys.grants(), ownerKey},
				sealed, s.ttl(g.Expires.Add(s.rememberEnded)), token.Digest().String(), g.Expires.UnixMilli(), s.ttl(g.Expires), owner, holdOf(g.Agent))
		})
		if err != nil {
			return err
		}
		if done, err := put.Int(); err != nil || done == 1 {
			return errors.Join(err, noted())
		}
		return ErrNotFound
	})
}

// DeleteGrant deletes a grant without a trace: for the loser of an exchange
// (Z-4), whose connection the winner needs. To end a token that an
// agent holds, use [Store.Revoke].
func (s *Store) DeleteGrant(ctx context.Context, token ath.Token) error {
	keys, err := keysOf(token)
	if err != nil {
		return err
	}
	return s.do(ctx, "delete_grant", func(ctx context.Context) error {
		return s.run(ctx, s.scripts.deleteGrant, nil, []string{keys.grant, keys.grants()}, token.Digest().String())
	})
}

// Grant returns what a token stands for, also past its end and revoked.
func (s *Store) Grant(ctx context.Context, token ath.Token) (Held[Grant], error) {
	keys, err := keysOf(token)
	if err != nil {
		return Held[Grant]{}, err
	}
	return get(ctx, s, "grant", keys.grant, s.openGrant)
}

// Revoke puts a tombstone in place of a grant, and ends the connection with
// its last grant, in one step: every decision that starts after Revoke has
// returned nil finds the token revoked (V-4). A grant that is revoked already, or
// gone, is a success; but with [Config].WaitReplicas a tombstone that was found
// is waited for too, because who put it may not have been able to.
func (s *Store) Revoke(ctx context.Context, old Held[Grant], at time.Time) error {
	if old.key == "" {
		return errNotHeld
	}
	if at.IsZero() {
		at = s.now() // a zero tombstone would be a live grant
	}
	// A grant changes only by being revoked, so a second round finds a
	// tombstone; a third would mean that something else rewrites the records.
	for range 3 {
		if !old.Value.Revoked.IsZero() && s.waitReplicas == 0 {
			return nil
		}
		err := s.bury(ctx, old, at)
		if !errors.Is(err, ErrChanged) {
			return err
		}
		switch old, err = get(ctx, s, "grant", old.key, s.openGrant); {
		case errors.Is(err, ErrNotFound):
			return nil
		case err != nil:
			return err
		}
	}
	return fmt.Errorf("store: revoke: %w, again and again", ErrChanged)
}

func (s *Store) bury(ctx context.Context, old Held[Grant], at time.Time) error {
	dead, sealed := old.Value, old.raw
	if dead.Revoked.IsZero() {
		var err error
		dead.Revoked = at
		if sealed, err = s.sealGrant(old.key, dead, old.x); err != nil {
			return err
		}
	}
	connection, err := key(dead.Connection, string(connectionKind))
	if err != nil {
		return err
	}
	grants, _ := key(dead.Connection, string(grantsKind))
	owner, _ := ownerKey(dead.Connection)
	digest := old.key[len(old.key)-2*len(ath.Digest{}):]
	_, err = s.end(ctx, dead.Connection, []Held[Grant]{old}, false, at, func(e ending) error {
		keys, args := s.feed.announcing([]string{connection, old.key, grants, owner, e.key},
			[]any{old.raw, sealed, s.ttl(dead.Expires.Add(s.rememberEnded)), digest, s.now().Add(-clockSkew).UnixMilli(), e.connection, e.revocation, e.ttl},
			announce(GrantEnded, dead.Connection, digest), announce(ConnectionEnded, dead.Connection, ""))
		return s.do(ctx, "revoke", func(ctx context.Context) error {
			return s.confirmed(ctx, s.scripts.revoke, ErrChanged, keys, args...)
		})
	})
	return err
}

func (s *Store) sealGrant(key string, g Grant, x extra) (string, error) {
	plain, err := encodeGrant(g, x)
	if err != nil {
		return "", err
	}
	return s.keys.seal(grantKind, key, plain)
}

func (s *Store) openGrant(key, raw string) (Grant, extra, error) {
	plain, err := s.open(grantKind, key, raw)
	if err != nil {
		return Grant{}, nil, err
	}
	return decodeGrant(plain)
}

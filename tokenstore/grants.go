package tokenstore

import (
	"context"
	"time"

	"github.com/athd/athd/ath"
)

// PutGrant stores what a token stands for, counts it among the grants of its
// connection and extends the connection's life to its own, in one step; it also
// enters the connection into the indexes of its agent's and its user's. ErrNotFound: the
// connection is gone, and nothing was stored.
func (s *Store) PutGrant(ctx context.Context, token ath.Token, g Grant) error {
	return s.putGrant(ctx, "put_grant", token, g, nil)
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

// Revoke puts a tombstone in place of a grant, and ends the connection with what it
// is kept for last, in one step: every decision that starts after Revoke has
// returned nil finds the token revoked (V-4). The renewal that the grant came with,
// or by, ends before it (T-8). A grant that is revoked already, or gone, is a
// success; but with [Config].WaitReplicas a tombstone that was found
// is waited for too, because who put it may not have been able to.
func (s *Store) Revoke(ctx context.Context, old Held[Grant], at time.Time) error {
	if old.key == "" {
		return errNotHeld
	}
	if err := s.endRenewalOf(ctx, &old.Value, at); err != nil {
		return err
	}
	return s.endHolder(ctx, s.grantHolder(old), at)
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

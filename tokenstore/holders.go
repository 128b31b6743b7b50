package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// A holder is what a connection is kept for: a grant, or a renewal. Each ends by a
// tombstone in its place, and the connection with the last of them.
type holder struct {
	key, raw string
	member   string // among the connection's grants
	agent    string // whose it is
	ref      ConnectionRef
	revoked  bool
	digest   string     // of its token
	renewal  string     // digest of the renewal that a grant came with, or by; "": of none
	ended    ChangeKind // what is told of its end

	tombstone func(at time.Time) (sealed string, err error)
	ttl       func() int64 // of the tombstone
}

func (s *Store) grantHolder(held Held[Grant]) holder {
	g := held.Value
	h := holder{
		key: held.key, raw: held.raw, member: digestOf(held.key), digest: digestOf(held.key), ended: GrantEnded,
		agent: g.Agent, ref: g.Ref(), revoked: !g.Revoked.IsZero(),
		tombstone: func(at time.Time) (string, error) {
			g.Revoked = at
			return s.sealGrant(held.key, g, held.x)
		},
		ttl: func() int64 { return s.ttl(g.Expires.Add(s.rememberEnded)) },
	}
	if !g.Renewal.IsZero() {
		h.renewal = g.Renewal.String()
	}
	return h
}

func (s *Store) renewalHolder(held Held[Renewal]) holder {
	r := held.Value
	return holder{
		key: held.key, raw: held.raw, member: renewalMember(digestOf(held.key)), digest: digestOf(held.key), ended: RenewalEnded,
		agent: r.Agent, ref: r.Ref(), revoked: !r.Revoked.IsZero(),
		tombstone: func(at time.Time) (string, error) {
			r.Revoked = at
			return s.sealRenewal(held.key, r, held.x)
		},
		ttl: func() int64 { return s.renewalTTL(&r) },
	}
}

// digestOf is the end of the key of a grant, or renewal.
func digestOf(key string) string { return key[max(0, len(key)-2*len(ath.Digest{})):] }

func parseDigest(s string) (d ath.Digest, err error) {
	err = d.UnmarshalText([]byte(s))
	return d, err
}

// readHolder reads what an entry among a connection's grants is of.
func (s *Store) readHolder(ctx context.Context, tag ath.Tag, member string) (holder, error) {
	if digest, is := renewalOf(member); is {
		key, err := renewalKey(tag, digest)
		if err != nil {
			return holder{}, err
		}
		held, err := get(ctx, s, "renewal", key, s.openRenewal)
		if err != nil {
			return holder{}, err
		}
		return s.renewalHolder(held), nil
	}
	key, err := key(tag, string(grantKind), member)
	if err != nil {
		return holder{}, err
	}
	held, err := get(ctx, s, "grant", key, s.openGrant)
	if err != nil {
		return holder{}, err
	}
	return s.grantHolder(held), nil
}

func (s *Store) openHolder(key, raw string, renewal bool) (holder, error) {
	if renewal {
		r, x, err := s.openRenewal(key, raw)
		return s.renewalHolder(Held[Renewal]{Value: r, key: key, raw: raw, x: x}), err
	}
	g, x, err := s.openGrant(key, raw)
	return s.grantHolder(Held[Grant]{Value: g, key: key, raw: raw, x: x}), err
}

// holdersOf reads what a connection is kept for, renewals first: no grant can be put
// of those that have ended. It says whether the connection is there.
func (s *Store) holdersOf(ctx context.Context, connection string, tag ath.Tag) (there bool, all []holder, err error) {
	index, err := key(tag, string(grantsKind))
	if err != nil {
		return false, nil, err
	}
	var members []string
	err = s.do(ctx, "grants", func(ctx context.Context) error {
		var exists *redis.IntCmd
		var found *redis.StringSliceCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			exists, found = batch.Exists(ctx, connection), batch.ZRange(ctx, index, 0, -1)
		})
		if err != nil {
			return err
		}
		there, members = exists.Val() > 0, found.Val()
		return errors.Join(exists.Err(), found.Err())
	})
	if err != nil {
		return false, nil, err
	}
	keys, renewals := holderKeys(tag, members)
	var unread error
	err = s.readEach(ctx, "holders", keys, func(i int, raw string) bool {
		h, err := s.openHolder(keys[i], raw, i < renewals)
		switch {
		case errors.Is(err, ErrCorrupt): // no token of it works
		case err != nil:
			unread = err
		default:
			all = append(all, h)
		}
		return unread == nil
	})
	if err := errors.Join(err, unread); err != nil {
		return false, nil, err
	}
	return there, all, nil
}

// holderKeys are the records' keys of entries among a connection's grants, renewals
// first, and how many those are.
func holderKeys(tag ath.Tag, members []string) (keys []string, renewals int) {
	var grants []string
	for _, member := range members {
		if digest, is := renewalOf(member); is {
			if renewal, err := renewalKey(tag, digest); err == nil {
				keys = append(keys, renewal)
			}
		} else if !isHold(member) {
			if grant, err := key(tag, string(grantKind), member); err == nil {
				grants = append(grants, grant)
			}
		}
	}
	return append(keys, grants...), len(keys)
}

// endHolder puts the tombstone, and ends the connection if it was the last, in one
// step. What is revoked already, or gone, is a success; but with
// [Config].WaitReplicas a tombstone that was found is waited for too, because who
// put it may not have been able to.
func (s *Store) endHolder(ctx context.Context, h holder, at time.Time) error {
	if at.IsZero() {
		at = s.now() // a zero tombstone would be a live record
	}
	// A renewal changes by being used, and then not again for a while; else they
	// change only by being revoked.
	for range 8 {
		if h.revoked && s.waitReplicas == 0 {
			return nil
		}
		err := s.bury(ctx, h, at)
		if !errors.Is(err, ErrChanged) {
			return err
		}
		switch h, err = s.readHolder(ctx, tagOf(h.key), h.member); {
		case errors.Is(err, ErrNotFound):
			return nil
		case err != nil:
			return err
		}
	}
	return fmt.Errorf("store: revoke: %w, again and again", ErrChanged)
}

func (s *Store) bury(ctx context.Context, h holder, at time.Time) error {
	sealed := h.raw
	if !h.revoked {
		var err error
		if sealed, err = h.tombstone(at); err != nil {
			return err
		}
	}
	tag := tagOf(h.key)
	connection, err := key(tag, string(connectionKind))
	if err != nil {
		return err
	}
	grants, _ := key(tag, string(grantsKind))
	owner, _ := ownerKey(tag)
	_, err = s.end(ctx, tag, []holder{h}, false, at, func(e ending) error {
		keys, args := s.feed.announcing([]string{connection, h.key, grants, owner, e.key},
			[]any{h.raw, sealed, h.ttl(), h.member, s.now().Add(-clockSkew).UnixMilli(), e.connection, e.revocation, e.ttl},
			announce(h.ended, tag, h.digest), announce(ConnectionEnded, tag, ""))
		return s.do(ctx, "revoke", func(ctx context.Context) error {
			return s.confirmed(ctx, s.scripts.revoke, ErrChanged, keys, args...)
		})
	})
	return err
}

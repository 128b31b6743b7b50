package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// sharedAtKind is the record that leads from the tag that the primary key gives a
// shared connection to the tag that it has: that of a key which sealed when the user
// consented first. Agents hold tokens with that tag, so that the connection cannot
// move; and once the key has left the keyset nobody could compute it.
const sharedAtKind kind = "shared-at"

// A sharedAt says where a shared connection is. Whoever follows it reads the
// connection as if its tag were computed: it opens for its own user and provider, and
// says its destination.
type sharedAt struct {
	User        string  `json:"user"`
	Provider    string  `json:"p"`
	Destination string  `json:"dest"`
	Connection  ath.Tag `json:"conn"`
}

// A place is a sharedAt as it is stored.
type place struct{ key, raw string }

func sharedAtKey(tag ath.Tag) (string, error) { return key(tag, string(sharedAtKind)) }

func (s *Store) openSharedAt(key, raw string) (sharedAt, error) {
	plain, err := s.open(sharedAtKind, key, raw)
	if err != nil {
		return sharedAt{}, err
	}
	return decode[sharedAt](sharedAtKind, plain)
}

func (k *Keyset) sealSharedAt(key string, at sharedAt) (string, error) {
	plain, err := encode(at)
	if err != nil {
		return "", err
	}
	return k.seal(sharedAtKind, key, plain)
}

// A foundShared is what is at a tag that a shared connection may have.
type foundShared struct {
	raw   string        // "": there is none
	order time.Duration // what is left of the mark of when its tokens came
}

// readShared reads what is at each tag, and what leads from there elsewhere.
func (s *Store) readShared(ctx context.Context, tags []ath.Tag) (found []foundShared, places []place, err error) {
	raws, ats := make([]*redis.StringCmd, len(tags)), make([]*redis.StringCmd, len(tags))
	left, keys := make([]*redis.DurationCmd, len(tags)), make([]string, len(tags))
	err = s.server.ask(ctx, func(batch redis.Pipeliner) {
		for i, tag := range tags {
			connection, _ := key(tag, string(connectionKind))
			order, _ := key(tag, string(orderKind))
			keys[i], _ = sharedAtKey(tag)
			raws[i], left[i], ats[i] = batch.Get(ctx, connection), batch.PTTL(ctx, order), batch.Get(ctx, keys[i])
		}
	})
	if err != nil {
		return nil, nil, err
	}
	found = make([]foundShared, len(tags))
	for i := range tags {
		raw, err := raws[i].Result()
		if err != nil && !errors.Is(err, redis.Nil) || left[i].Err() != nil {
			return nil, nil, errors.Join(err, left[i].Err())
		}
		found[i] = foundShared{raw, max(0, left[i].Val())}
		switch at, err := ats[i].Result(); {
		case errors.Is(err, redis.Nil):
		case err != nil:
			return nil, nil, err
		default:
			places = append(places, place{keys[i], at})
		}
	}
	return found, places, nil
}

// placed opens places, and returns the tags that they lead to.
func (s *Store) placed(places []place) (tags []ath.Tag, all []place, err error) {
	for _, p := range places {
		at, err := s.openSharedAt(p.key, p.raw)
		if err != nil {
			return nil, nil, err
		}
		if _, err := ath.ParseTag(string(at.Connection)); err != nil {
			return nil, nil, fmt.Errorf("%w: the %s record leads nowhere", ErrCorrupt, sharedAtKind)
		}
		if !slices.Contains(tags, at.Connection) {
			tags = append(tags, at.Connection)
		}
		all = append(all, p)
	}
	return tags, all, nil
}

// dropPlaces deletes what leads to a connection that has ended. One that stays is
// passed over, since there is a connection at its own tag.
func (s *Store) dropPlaces(ctx context.Context, stale []place) {
	for _, p := range stale {
		err := s.do(ctx, "drop_shared_at", func(ctx context.Context) error {
			return s.run(ctx, s.scripts.remove, ErrChanged, []string{p.key}, p.raw)
		})
		if err != nil {
			s.log.DebugContext(ctx, "place of a shared connection not deleted", "error", err)
		}
	}
}

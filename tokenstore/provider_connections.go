package tokenstore

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// A ProviderConnection is a connection of a provider.
type ProviderConnection struct {
	Tag         ath.Tag
	Corrupt     bool   // it does not open
	Destination string // see [Connection]; "" of one that does not open
	Bound       string
	Created     time.Time
}

// ProviderConnections calls use with every connection of a provider that goes by one
// of these names, until it returns an error, which is returned. A connection that is
// there during all of it is seen at least once. It walks over all keys, as
// [Store.Agents] does, and calls pace with how many connections it has read of
// whomever, some at a time. [ErrMoved]: look again.
func (s *Store) ProviderConnections(ctx context.Context, names []string, pace func(ctx context.Context, read int) error, use func(context.Context, ProviderConnection) error) error {
	if err := s.do(ctx, opKeyset, s.sameKeyset); err != nil {
		return err
	}
	return s.walkKeys(ctx, "ath:{*}:"+string(connectionKind), func(ctx context.Context, keys []string) error {
		owners := make([]string, len(keys))
		for i, at := range keys {
			owners[i], _ = ownerKey(tagOf(at)) // "": not a key that athd wrote
		}
		owned, err := s.values(ctx, owners)
		if err != nil {
			return err
		}
		var tags []ath.Tag
		for i, at := range keys {
			if owners[i] == "" {
				continue
			}
			// What has no owner that opens is told by its grants.
			if o, err := s.openOwner(owners[i], owned[i]); owned[i] == "" || err != nil || slices.Contains(names, o.Provider) {
				tags = append(tags, tagOf(at))
			}
		}
		if len(tags) > 0 {
			found, err := s.readConnections(ctx, tags, false)
			if err != nil {
				return err
			}
			for i, c := range found {
				if !c.there && !c.corrupt || !slices.Contains(names, c.info.Provider) {
					continue
				}
				if err := use(ctx, ProviderConnection{Tag: tags[i], Corrupt: c.corrupt, Destination: c.info.Destination, Bound: c.info.Bound, Created: c.info.Created}); err != nil {
					return err
				}
			}
		}
		return pace(ctx, len(keys))
	})
}

// ProviderRevocations counts what waits to be revoked at a provider that goes by one
// of these names, and for which is returns true of the destination. It reads the
// whole queue.
func (s *Store) ProviderRevocations(ctx context.Context, names []string, is func(destination string) bool) (n int, err error) {
	for from := int64(0); ; from += eachRead {
		entries, err := s.entries(ctx, "revocations", redis.ZRangeArgs{Key: revocationsDue, Start: from, Stop: from + eachRead - 1})
		if err != nil {
			return 0, err
		}
		keys := make([]string, len(entries))
		for i, e := range entries {
			keys[i], _ = revocationKey(e.Tag) // "": not an entry that athd wrote
		}
		raws, err := s.values(ctx, keys)
		if err != nil {
			return 0, err
		}
		for i, raw := range raws {
			if raw == "" {
				continue
			}
			r, _, err := s.openRevocation(keys[i], raw)
			if err == nil && slices.Contains(names, r.Provider) && is(r.Destination) {
				n++
			}
		}
		if len(entries) < eachRead {
			return n, nil
		}
	}
}

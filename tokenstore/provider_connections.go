package tokenstore

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// A ProviderConnection is a connection of a provider.
type ProviderConnection struct {
	Tag         ath.Tag
	Provider    string // one of the names
	Corrupt     bool   // it does not open
	Destination string // see [Connection]; "" of one that does not open
	Bound       string
	Created     time.Time
}

// lookBatch is how many keys the server looks at in one step while others wait for it,
// whose requests are decided meanwhile: some tenths of a millisecond.
const lookBatch = 250

// ProviderConnections calls use with every connection of a provider for whose name
// named returns true, until use returns an error, which is returned. A connection that
// is there during all of it is seen at least once. It walks over all keys in small
// steps, and calls pace after some of them, with how many keys the server has looked at
// and how many connections were read, of whomever. [ErrMoved]: look again.
func (s *Store) ProviderConnections(ctx context.Context, named func(string) bool, pace func(ctx context.Context, looked, read int) error, use func(context.Context, ProviderConnection) error) error {
	if err := s.do(ctx, opKeyset, s.sameKeyset); err != nil {
		return err
	}
	return s.walkKeys(ctx, "ath:{*}:"+string(connectionKind), lookBatch, func(ctx context.Context, keys []string) error {
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
			if o, err := s.openOwner(owners[i], owned[i]); owned[i] == "" || err != nil || named(o.Provider) {
				tags = append(tags, tagOf(at))
			}
		}
		if len(tags) > 0 {
			found, err := s.readConnections(ctx, tags, false)
			if err != nil {
				return err
			}
			for i, c := range found {
				if !c.there && !c.corrupt || !named(c.info.Provider) {
					continue
				}
				if err := use(ctx, ProviderConnection{Tag: tags[i], Provider: c.info.Provider, Corrupt: c.corrupt, Destination: c.info.Destination, Bound: c.info.Bound, Created: c.info.Created}); err != nil {
					return err
				}
			}
		}
		return pace(ctx, 0, len(keys))
	}, func(ctx context.Context) error { return pace(ctx, lookBatch, 0) })
}

// ProviderRevocations counts what waits to be revoked, by the name of its provider. It
// reads the whole queue.
func (s *Store) ProviderRevocations(ctx context.Context) (waits map[string]int, err error) {
	waits = map[string]int{}
	for from := int64(0); ; from += eachRead {
		entries, err := s.entries(ctx, "revocations", redis.ZRangeArgs{Key: revocationsDue, Start: from, Stop: from + eachRead - 1})
		if err != nil {
			return nil, err
		}
		keys := make([]string, len(entries))
		for i, e := range entries {
			keys[i], _ = revocationKey(e.Tag) // "": not an entry that athd wrote
		}
		raws, err := s.values(ctx, keys)
		if err != nil {
			return nil, err
		}
		for i, raw := range raws {
			if raw == "" {
				continue
			}
			r, _, err := s.openRevocation(keys[i], raw)
			if err == nil {
				waits[r.Provider]++
			}
		}
		if len(entries) < eachRead {
			return waits, nil
		}
	}
}

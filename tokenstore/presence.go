package tokenstore

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// What every athd tells of itself, so that no key comes into use that one of them
// does not have. It holds ids of keys, which every record bears, and is not sealed:
// whoever can write to Redis can hide an athd or make one up, and with it have a
// key promoted too early, which the next reload heals, or hold a rotation up.
const (
	replicasKey  = "ath:{canary}:replicas" // an index: ids, by when they were there last
	replicaStart = "ath:{canary}:replica:" // then the id
	// PresenceEvery is how often an athd tells that it is there, and PresenceTTL
	// how long it is taken to be there from then on.
	PresenceEvery = 10 * time.Second
	PresenceTTL   = 35 * time.Second
	// maxReplicas bounds the list, and maxReplicaBytes each entry: the ids of as many
	// keys as a keyset can have, and so much of why its file is refused.
	maxReplicas     = 1000
	maxReplicaBytes = 16 << 10
	maxRefusedBytes = 1 << 10
)

// A Replica is an athd that runs on this store, as it told last.
type Replica struct {
	ID      string    `json:"id"`   // of the process, at random
	Name    string    `json:"name"` // of its host
	Version string    `json:"version"`
	Keys    []uint32  `json:"keys"`              // that it opens with
	Primary uint32    `json:"primary"`           // that it seals with
	Refused string    `json:"refused,omitempty"` // why its keyset file is not what it uses; "": it is
	At      time.Time `json:"at"`
}

// Has reports whether the replica opens with a key.
func (r *Replica) Has(id uint32) bool { return slices.Contains(r.Keys, id) }

// ReplicaID is the [Replica].ID of who uses this Store.
func (s *Store) ReplicaID() string { return s.id }

// Announce tells that an athd is there, and which keys it has, for [PresenceTTL].
// Before, it checks the keyset as [Store.Ready] does: one with another keyset tells
// nothing. ID, keys and time are filled in.
func (s *Store) Announce(ctx context.Context, r Replica) error {
	return s.do(ctx, opKeyset, func(ctx context.Context) error {
		seen, err := s.seals(ctx)
		if err != nil {
			return err
		}
		if err := s.checkKeyset(ctx, seen); err != nil {
			return s.noteForeign(err)
		}
		keys := s.keys.now()
		r.ID, r.Primary, r.Keys, r.At = s.id, keys.Primary(), nil, s.now().UTC()
		r.Refused = r.Refused[:min(len(r.Refused), maxRefusedBytes)] // with too long an entry nobody would see this athd
		for _, key := range keys.Keys() {
			if key.Enabled {
				r.Keys = append(r.Keys, key.ID)
			}
		}
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		var all []redis.Cmder
		err = s.server.ask(ctx, func(batch redis.Pipeliner) {
			all = []redis.Cmder{
				batch.Set(ctx, replicaStart+s.id, text, PresenceTTL),
				batch.ZAdd(ctx, replicasKey, redis.Z{Score: float64(r.At.UnixMilli()), Member: s.id}),
				// Clocks differ: the entry's own TTL says whether it is there.
				batch.ZRemRangeByScore(ctx, replicasKey, "-inf", "("+strconv.FormatInt(r.At.Add(-PresenceTTL-clockSkew).UnixMilli(), 10)),
				batch.PExpire(ctx, replicasKey, PresenceTTL+clockSkew),
			}
		})
		for _, c := range all {
			err = errors.Join(err, c.Err())
		}
		return err
	})
}

// Withdraw takes back what [Store.Announce] told: this athd ends.
func (s *Store) Withdraw(ctx context.Context) error {
	return s.do(ctx, "withdraw", func(ctx context.Context) error {
		var gone, left *redis.IntCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			gone, left = batch.Del(ctx, replicaStart+s.id), batch.ZRem(ctx, replicasKey, s.id)
		})
		if err != nil {
			return err
		}
		return errors.Join(gone.Err(), left.Err())
	})
}

// Replicas lists every athd that told that it is there, by name. One from before
// there was [Store.Announce] tells nothing, and is not among them. It is for a store
// with another keyset, too, which is about to take the right one.
func (s *Store) Replicas(ctx context.Context) (all []Replica, err error) {
	err = s.do(ctx, opKeyset, func(ctx context.Context) (err error) {
		all, err = s.replicas(ctx)
		return err
	})
	return all, err
}

func (s *Store) replicas(ctx context.Context) (out []Replica, err error) {
	var listed *redis.StringSliceCmd
	if err := s.server.ask(ctx, func(batch redis.Pipeliner) {
		listed = batch.ZRange(ctx, replicasKey, 0, maxReplicas-1)
	}); err != nil {
		return nil, err
	}
	ids, err := listed.Result()
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = replicaStart + id
	}
	var got *redis.SliceCmd
	if err := s.server.ask(ctx, func(batch redis.Pipeliner) { got = batch.MGet(ctx, names...) }); err != nil {
		return nil, err
	}
	values, err := got.Result()
	for _, v := range values {
		var r Replica
		if text, _ := v.(string); text != "" && len(text) <= maxReplicaBytes && json.Unmarshal([]byte(text), &r) == nil {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Replica) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out, err
}

package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// The list of keys that were retired. It never expires. An athd that still seals
// with one of them writes what the others do not open, and is refused.
const (
	retiredKey       = "ath:{canary}:retired"
	retiredKind kind = "retired"
	// maxRetired bounds the list: the oldest are forgotten. Keys that were retired
	// so many rotations ago are in no file that is still about.
	maxRetired = 100
)

type retired struct {
	Keys []retiredKeyOf `json:"keys"`
}

type retiredKeyOf struct {
	ID uint32 `json:"id"`
	At int64  `json:"at"` // Unix seconds
}

func (r *retired) has(id uint32) bool {
	for _, key := range r.Keys {
		if key.ID == id {
			return true
		}
	}
	return false
}

func (s *Store) openRetired(raw string) (retired, error) {
	if raw == "" {
		return retired{}, nil
	}
	plain, err := s.open(retiredKind, retiredKey, raw)
	if err != nil {
		return retired{}, err
	}
	return decode[retired](retiredKind, plain)
}

// RetiredKeys says which keys were retired, and when.
func (s *Store) RetiredKeys(ctx context.Context) (map[uint32]time.Time, error) {
	out := map[uint32]time.Time{}
	err := s.do(ctx, opKeyset, func(ctx context.Context) error {
		seen, err := s.seals(ctx)
		if err != nil {
			return err
		}
		list, err := s.openRetired(seen.retired)
		for _, key := range list.Keys {
			out[key.ID] = time.Unix(key.At, 0).UTC()
		}
		return err
	})
	return out, err
}

// MarkRetired notes that nothing needs a key any more: replicas may go on without
// it, and none may seal with it. It is for who has looked: at what is stored, and
// at every replica.
func (s *Store) MarkRetired(ctx context.Context, id uint32) error {
	if id == s.keys.now().Primary() {
		return ErrKeySeals
	}
	return s.changeRetired(ctx, func(list *retired) bool {
		if list.has(id) {
			return false
		}
		list.Keys = append(list.Keys, retiredKeyOf{id, s.now().Unix()})
		list.Keys = list.Keys[max(0, len(list.Keys)-maxRetired):]
		return true
	})
}

func (s *Store) changeRetired(ctx context.Context, change func(*retired) bool) error {
	const tries = 5
	err := ErrChanged
	for range tries {
		if err = s.do(ctx, "retired_keys", func(ctx context.Context) error { return s.tryRetired(ctx, change) }); !errors.Is(err, ErrChanged) {
			return err
		}
	}
	return err
}

func (s *Store) tryRetired(ctx context.Context, change func(*retired) bool) error {
	var got *redis.StringCmd
	if err := s.server.ask(ctx, func(batch redis.Pipeliner) { got = batch.Get(ctx, retiredKey) }); err != nil {
		return err
	}
	raw, err := got.Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	list, err := s.openRetired(raw)
	if err != nil {
		return err
	}
	if !change(&list) {
		return nil
	}
	plain, err := encode(list)
	if err != nil {
		return err
	}
	sealed, err := s.keys.seal(retiredKind, retiredKey, plain)
	if err != nil {
		return err
	}
	if raw == "" {
		err = s.setIfAbsent(ctx, retiredKey, sealed, noTTL)
		if errors.Is(err, ErrExists) {
			return fmt.Errorf("%w: the list of retired keys", ErrChanged)
		}
		return err
	}
	return s.confirmed(ctx, s.scripts.swapRevoking, ErrChanged, []string{retiredKey}, raw, sealed, noTTL)
}

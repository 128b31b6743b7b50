package tokenstore

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// A Held is a record as it was read: its value, and what compare-and-swap
// needs to detect a write in between. A Held that no verb returned is refused by
// every swap.
type Held[T any] struct {
	Value T
	key   string
	raw   string
	x     extra // goes into what the record is replaced by
}

var errNotHeld = errors.New("store: the record was not read from a store")

// get reads one record. A missing one is ErrNotFound.
func get[T any](ctx context.Context, s *Store, op, key string, open func(key, raw string) (T, extra, error)) (Held[T], error) {
	held := Held[T]{key: key}
	err := s.do(ctx, op, func(ctx context.Context) (err error) {
		var got *redis.StringCmd
		if err := s.server.ask(ctx, func(batch redis.Pipeliner) { got = batch.Get(ctx, key) }); err != nil {
			return err
		}
		switch held.raw, err = got.Result(); {
		case errors.Is(err, redis.Nil):
			return ErrNotFound
		case err != nil:
			return err
		}
		held.Value, held.x, err = open(key, held.raw)
		return err
	})
	if err != nil {
		return Held[T]{}, err
	}
	return held, nil
}

// create writes a sealed record where there is none. A missing key answers
// nil, and so does a first attempt whose reply was lost: no other call has these
// bytes.
func (s *Store) create(ctx context.Context, op, key, sealed string, ttl int64) error {
	return s.do(ctx, op, func(ctx context.Context) error {
		return s.setIfAbsent(ctx, key, sealed, ttl)
	})
}

func (s *Store) setIfAbsent(ctx context.Context, key, value string, ttl int64) error {
	args := []any{"SET", key, value, "NX", "GET"}
	if ttl != noTTL {
		args = append(args, "PX", ttl)
	}
	var set *redis.Cmd
	if err := s.server.ask(ctx, func(batch redis.Pipeliner) { set = batch.Do(ctx, args...) }); err != nil {
		return err
	}
	switch there, err := set.Text(); {
	case errors.Is(err, redis.Nil):
		return nil
	case err != nil:
		return err
	case there != value:
		return ErrExists
	}
	return nil
}

// swap replaces old by sealed and returns the next Held. The script is one that
// swaps.
func swap[T any](ctx context.Context, s *Store, script script, op string, old Held[T], next T, sealed string, ttl int64) (Held[T], error) {
	err := s.do(ctx, op, func(ctx context.Context) error {
		return s.run(ctx, script, ErrChanged, []string{old.key}, old.raw, sealed, ttl)
	})
	if err != nil {
		return Held[T]{}, err
	}
	return Held[T]{Value: next, key: old.key, raw: sealed, x: old.x}, nil
}

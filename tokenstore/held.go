package tokenstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

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

// eachRead is how many records are read at a time: some 200 kB, far less than a
// slow server takes the time of a request for.
const eachRead = 200

// readEach reads records of one slot, eachRead at a time, and uses those that are
// there in their order, until use says that it has enough. i is the key's place.
func (s *Store) readEach(ctx context.Context, op string, keys []string, use func(i int, raw string) bool) error {
	first := 0
	for some := range slices.Chunk(keys, eachRead) {
		var values []any
		err := s.do(ctx, op, func(ctx context.Context) (err error) {
			var got *redis.SliceCmd
			if err := s.server.ask(ctx, func(batch redis.Pipeliner) { got = batch.MGet(ctx, some...) }); err != nil {
				return err
			}
			if values, err = got.Result(); err == nil && len(values) != len(some) {
				err = fmt.Errorf("MGET of %d keys answered with %d values", len(some), len(values))
			}
			return err
		})
		if err != nil {
			return err
		}
		for i, value := range values {
			if raw, there := value.(string); there && !use(first+i, raw) {
				return nil
			}
		}
		first += len(some)
	}
	return nil
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

// rewraps is how often a record may be sealed again while it is swapped.
const rewraps = 3

// unlessRewrapped is for a swap that is lost for good where it fails: what was read
// counts as still there if it was only sealed again, by [Store.Rewrap], since.
// Whoever else moved the record on has left another value.
func (s *Store) unlessRewrapped(ctx context.Context, of kind, key, raw string, swap func(raw string) error) error {
	err := swap(raw)
	for range rewraps {
		if !errors.Is(err, ErrChanged) {
			return err
		}
		now, same := s.rewrapped(ctx, of, key, raw)
		if !same {
			return err
		}
		raw = now
		err = swap(raw)
	}
	return err
}

func (s *Store) rewrapped(ctx context.Context, of kind, key, raw string) (now string, same bool) {
	held, err := get(ctx, s, "read_rewrapped", key, func(_, now string) ([]byte, extra, error) {
		plain, err := s.keys.open(of, key, now)
		return plain, nil, err
	})
	if err != nil || held.raw == raw {
		return "", false
	}
	before, err := s.keys.open(of, key, raw)
	return held.raw, err == nil && bytes.Equal(before, held.Value)
}

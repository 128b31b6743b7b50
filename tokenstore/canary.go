package tokenstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// The canary is a record without content. That it opens proves that the other
// records were sealed with our keyset too. It never expires. Its tag is none that
// [ath.NewTag] draws.
const (
	canaryKey       = "ath:{canary}:keyset"
	canaryKind kind = "canary"
	canaryText      = "athd"
)

// absentKey is in the canary's slot and is never there. It is only written if it
// exists, so that the attempt shows whether the server takes writes.
const absentKey = "ath:{canary}:never"

// The operations that check the keyset. All others are refused once it is known
// to be another one.
const opReady, opKeyset = "ready", "keyset"

// A store without a canary is new, or was written by an athd that knew none.
// Then up to so many of its records are tried.
const (
	sampleScans = 20
	sampleSize  = 32
)

// checkKeyset checks the canary as it was read; raw is "" if there was none. Then
// it writes one, unless there are records and none opens.
func (s *Store) checkKeyset(ctx context.Context, raw string) error {
	if raw != "" {
		return s.openCanary(ctx, raw)
	}
	if err := s.sample(ctx); err != nil {
		return err
	}
	sealed, err := s.keys.seal(canaryKind, canaryKey, []byte(canaryText))
	if err != nil {
		return err
	}
	err = s.setIfAbsent(ctx, canaryKey, sealed, noTTL)
	if errors.Is(err, ErrExists) {
		return nil // another replica was first; the next check reads what it wrote
	}
	return err
}

// sameKeyset is checkKeyset where the canary was not read yet, and writes none.
func (s *Store) sameKeyset(ctx context.Context) error {
	var canary *redis.StringCmd
	if err := s.server.ask(ctx, func(batch redis.Pipeliner) { canary = batch.Get(ctx, canaryKey) }); err != nil {
		return err
	}
	switch raw, err := canary.Result(); {
	case errors.Is(err, redis.Nil):
		return s.sample(ctx)
	case err != nil:
		return err
	default:
		return s.openCanary(ctx, raw)
	}
}

func (s *Store) openCanary(ctx context.Context, raw string) error {
	if plain, err := s.keys.open(canaryKind, canaryKey, raw); err != nil || string(plain) != canaryText {
		return ErrOtherKeyset
	}
	if s.keys.sealedWithPrimary(raw) || !s.resealed.CompareAndSwap(false, true) {
		return nil
	}
	// The keyset has a new primary key, and the old one may be retired one day.
	// Once per process, so that replicas with different primary keys do not
	// rewrite it in turns.
	sealed, err := s.keys.seal(canaryKind, canaryKey, []byte(canaryText))
	if err != nil {
		return err
	}
	if err := s.run(ctx, s.scripts.swapRevoking, ErrChanged, []string{canaryKey}, raw, sealed, noTTL); err != nil {
		s.resealed.Store(false)
	}
	return nil
}

// sealedWithPrimary reports whether a record bears the id of the key that
// seals; a key without ids counts as that one.
func (k *Keyset) sealedWithPrimary(raw string) bool {
	const tinkPrefix = 1 // then the key's id
	if len(raw) < 6 || raw[1] != tinkPrefix {
		return true
	}
	return binary.BigEndian.Uint32([]byte(raw[2:6])) == k.handle.KeysetInfo().GetPrimaryKeyId()
}

// sample is nil if there are no records, or one opens.
func (s *Store) sample(ctx context.Context) error {
	nodes, err := s.masterNodes(ctx)
	if err != nil {
		return err
	}
	looked := 0
	for _, ask := range nodes {
		cursor := uint64(0)
		for range sampleScans {
			var step *redis.ScanCmd
			err := ask(ctx, func(batch redis.Pipeliner) { step = batch.Scan(ctx, cursor, "ath:{*}:*", scanBatch) })
			if err != nil {
				return err
			}
			var keys []string
			if keys, cursor, err = step.Result(); err != nil {
				return err
			}
			opened, tried, err := s.tryOpen(ctx, keys, sampleSize-looked)
			if err != nil || opened {
				return err
			}
			if looked += tried; looked >= sampleSize || cursor == 0 {
				break
			}
		}
	}
	if looked > 0 {
		return ErrOtherKeyset
	}
	return nil
}

// tryOpen opens up to limit of the records at these keys.
func (s *Store) tryOpen(ctx context.Context, keys []string, limit int) (opened bool, tried int, err error) {
	var records []string
	for _, key := range keys {
		if kind := sampleKind(key); kind != "" && len(records) < limit {
			records = append(records, key)
		}
	}
	if len(records) == 0 {
		return false, 0, nil
	}
	got := make([]*redis.StringCmd, len(records))
	err = s.server.ask(ctx, func(batch redis.Pipeliner) {
		for i, key := range records {
			got[i] = batch.Get(ctx, key)
		}
	})
	if err != nil {
		return false, 0, err
	}
	for i, key := range records {
		raw, err := got[i].Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return false, tried, fmt.Errorf("looking at a record: %w", err)
		}
		tried++
		if _, err := s.keys.open(sampleKind(key), key, raw); err == nil {
			return true, tried, nil
		}
	}
	return false, tried, nil
}

// sampleKind is the kind of the record at a key, if it is one that opens with
// nothing but its key; else "".
func sampleKind(key string) kind {
	_, what, _ := strings.Cut(key, "}:")
	what, _, _ = strings.Cut(what, ":")
	switch kind := kind(what); kind {
	case agentKind, sessionKind, grantKind:
		return kind
	}
	return ""
}

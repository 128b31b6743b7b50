package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// seals are the records that say which keys sealed what is stored, as they were
// read; "": there is none.
type seals struct{ canary, retired string }

func readSeals(values []any) seals {
	var out seals
	for i, to := range []*string{&out.canary, &out.retired} {
		if i < len(values) {
			*to, _ = values[i].(string)
		}
	}
	return out
}

func (s *Store) seals(ctx context.Context) (seals, error) {
	var got *redis.SliceCmd
	if err := s.server.ask(ctx, func(batch redis.Pipeliner) { got = batch.MGet(ctx, canaryKey, retiredKey) }); err != nil {
		return seals{}, err
	}
	return readSeals(got.Val()), got.Err()
}

// checkKeyset checks the canary as it was read. Then it writes one if there was
// none, unless there are records and none opens.
func (s *Store) checkKeyset(ctx context.Context, seen seals) error {
	keys := s.keys.now()
	if foreign := keys.foreign(seen); foreign != nil {
		return foreign
	}
	if seen.canary != "" {
		s.follow(ctx, keys, seen)
		return nil
	}
	if err := s.sample(ctx); err != nil {
		return err
	}
	sealed, err := keys.seal(canaryKind, canaryKey, []byte(canaryText))
	if err != nil {
		return err
	}
	err = s.setIfAbsent(ctx, canaryKey, sealed, noTTL)
	if errors.Is(err, ErrExists) {
		return nil // another replica was first; the next check reads what it wrote
	}
	return err
}

// noteForeign remembers what checkKeyset found, so that other verbs are refused, or
// no longer.
func (s *Store) noteForeign(err error) error {
	foreign, _ := errors.AsType[*foreignError](err)
	s.foreign.Store(foreign)
	return err
}

// sameKeyset is checkKeyset where the canary was not read yet, and writes none.
func (s *Store) sameKeyset(ctx context.Context) error {
	seen, err := s.seals(ctx)
	if err != nil {
		return err
	}
	if foreign := s.keys.now().foreign(seen); foreign != nil {
		return foreign
	}
	if seen.canary == "" {
		return s.sample(ctx)
	}
	return nil
}

// foreign says what is wrong with a keyset for a store with these seals; nil:
// nothing is.
func (k *Keyset) foreign(seen seals) *foreignError {
	if seen.canary != "" {
		if plain, err := k.open(canaryKind, canaryKey, seen.canary); err != nil || string(plain) != canaryText {
			return &foreignError{k.whyNot(seen.canary)}
		}
	}
	// A list that does not open was sealed with a key that is gone by now, or is
	// rubbish, and forbids nothing.
	if plain, err := k.open(retiredKind, retiredKey, seen.retired); err == nil {
		if list, err := decode[retired](retiredKind, plain); err == nil && list.has(k.Primary()) {
			return &foreignError{KeyName(k.Primary()) + ", which it seals with, was retired: the other replicas do not open what it would write; " + k.describe() + ": it is from before the last rotation"}
		}
	}
	return nil
}

// whyNot says which key a keyset lacks for the canary.
func (k *Keyset) whyNot(canary string) string {
	id, named := sealedBy(canary)
	if !named {
		return ""
	}
	switch key, there := k.Key(id); {
	case !there:
		return "it needs " + KeyName(id) + ", and " + k.describe()
	case !key.Enabled:
		return "it needs " + KeyName(id) + ", which this keyset has, but disabled: set its status to ENABLED, or take the keyset of the other replicas"
	default:
		return "what proves it does not open with " + KeyName(id) + ", though the keyset has a key of this id: it is another one, or the record was changed"
	}
}

// follow seals the canary and the list of retired keys again where another key
// than the primary did, which may be retired one day. Once for each keyset, so that
// replicas with different primary keys do not rewrite them in turns; and not while an
// athd tells that it lacks the key: without the canary it would refuse everything.
func (s *Store) follow(ctx context.Context, keys *Keyset, seen seals) {
	behind := !keys.sealedWithPrimary(seen.canary) || seen.retired != "" && !keys.sealedWithPrimary(seen.retired)
	if behind && s.resealed.CompareAndSwap(false, true) {
		all, err := s.replicas(ctx)
		lacked := slices.ContainsFunc(all, func(r Replica) bool { return r.ID != s.id && !r.Has(keys.Primary()) })
		if err != nil || lacked || s.resealSeals(ctx, keys, seen) != nil {
			s.resealed.Store(false) // the next check tries again
		}
	}
}

func (s *Store) resealSeals(ctx context.Context, keys *Keyset, seen seals) error {
	var all error
	for _, of := range []struct {
		kind     kind
		key, raw string
	}{{canaryKind, canaryKey, seen.canary}, {retiredKind, retiredKey, seen.retired}} {
		if of.raw == "" || keys.sealedWithPrimary(of.raw) {
			continue
		}
		plain, err := keys.open(of.kind, of.key, of.raw)
		if err != nil {
			all = errors.Join(all, err)
			continue
		}
		sealed, err := keys.seal(of.kind, of.key, plain)
		if err == nil {
			err = s.run(ctx, s.scripts.swapRevoking, ErrChanged, []string{of.key}, of.raw, sealed, noTTL)
		}
		all = errors.Join(all, err)
	}
	return all
}

// CheckKeyset looks whether the keyset is the one that what is stored needs, and
// changes nothing. ErrOtherKeyset: it is not.
func (s *Store) CheckKeyset(ctx context.Context) error { return s.do(ctx, opKeyset, s.sameKeyset) }

// CanaryKey is the id of the key that sealed the canary. ErrNotFound: there is none,
// or it names no key.
func (s *Store) CanaryKey(ctx context.Context) (uint32, error) {
	var id uint32
	err := s.do(ctx, opKeyset, func(ctx context.Context) error {
		seen, err := s.seals(ctx)
		if err != nil {
			return err
		}
		var named bool
		if id, named = sealedBy(seen.canary); !named {
			return ErrNotFound
		}
		return nil
	})
	return id, err
}

// sealedWithPrimary reports whether a record bears the id of the key that
// seals; a key without ids counts as that one.
func (k *Keyset) sealedWithPrimary(raw string) bool {
	id, named := sealedBy(raw)
	return !named || id == k.Primary()
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
		return &foreignError{}
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

package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// RuntimeProviderTags returns the tags of all that there are. It is one round trip.
func (s *Store) RuntimeProviderTags(ctx context.Context) (tags []ath.Tag, err error) {
	if err := s.do(ctx, opKeyset, s.sameKeyset); err != nil {
		return nil, err
	}
	err = s.do(ctx, "provider_index", func(ctx context.Context) error {
		tags = nil
		var got *redis.StringSliceCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			got = batch.ZRangeArgs(ctx, redis.ZRangeArgs{Key: providersIndex, Start: 0, Stop: MaxRuntimeProviders - 1})
		})
		if err != nil {
			return err
		}
		members, err := got.Result()
		for _, member := range members {
			if tag, bad := ath.ParseTag(member); bad == nil { // else it is not an entry that athd wrote
				tags = append(tags, tag)
			}
		}
		return err
	})
	return tags, err
}

// A ProviderStamp tells a stored record from any other, also of the same provider and
// generation.
type ProviderStamp [16]byte

func providerStamp(raw string) (s ProviderStamp) {
	copy(s[:], raw[max(0, len(raw)-len(s)):]) // the end of what is sealed is a MAC
	return s
}

// A ReadProvider is one of those that [Store.RuntimeProviders] was asked for.
type ReadProvider struct {
	Tag   ath.Tag
	Value RuntimeProvider
	Stamp ProviderStamp
	// Same: it is the record of the stamp that is known; Value is not filled in.
	Same bool
	// Err says why there is none: [ErrNotFound], or [ErrCorrupt] of one that does not
	// open, or that another athd wrote in a way that this one does not know.
	Err error
}

// RuntimeProviders reads those with these tags, in their order. known, if any, says
// which record of one is known. One that does not open keeps no other from being read.
func (s *Store) RuntimeProviders(ctx context.Context, tags []ath.Tag, known func(ath.Tag) ProviderStamp) ([]ReadProvider, error) {
	out := make([]ReadProvider, len(tags))
	keys := make([]string, len(tags))
	for i, tag := range tags {
		at, err := providerKey(tag)
		if err != nil {
			return nil, err
		}
		keys[i] = at
		out[i] = ReadProvider{Tag: tag, Err: ErrNotFound}
	}
	err := s.readEach(ctx, "read_providers", keys, func(i int, raw string) bool {
		r := &out[i]
		r.Stamp, r.Err = providerStamp(raw), nil
		if known != nil {
			r.Same = known(r.Tag) == r.Stamp
		}
		if !r.Same {
			r.Value, _, r.Err = s.openProvider(keys[i], raw)
		}
		return true
	})
	return out, err
}

// RuntimeProvider returns one, by its id. If there is none, that is no error: its
// value is zero, and it can be swapped for one. So can one that does not open, which
// comes with [ErrCorrupt].
func (s *Store) RuntimeProvider(ctx context.Context, id string) (Held[RuntimeProvider], error) {
	at, err := providerKey(ProviderTag(id))
	if err != nil {
		return Held[RuntimeProvider]{}, err
	}
	var sealed string
	held, err := get(ctx, s, "provider", at, func(key, raw string) (RuntimeProvider, extra, error) {
		sealed = raw
		return s.openProvider(key, raw)
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return Held[RuntimeProvider]{key: at}, nil
	case errors.Is(err, ErrCorrupt):
		return Held[RuntimeProvider]{key: at, raw: sealed}, err
	}
	return held, err
}

// SwapRuntimeProvider replaces one as it was read, or makes one where there was
// none, and returns it with its generation, which this gives it. ErrChanged: somebody
// else did so first. Other athd hear of it by [ProviderChanged]. It waits for replicas as
// [Config].WaitReplicas says; one that drains is written also when the server is full.
func (s *Store) SwapRuntimeProvider(ctx context.Context, old Held[RuntimeProvider], next RuntimeProvider) (Held[RuntimeProvider], error) {
	tag := ProviderTag(next.ID)
	if of, err := providerKey(tag); err != nil || of != old.key {
		return Held[RuntimeProvider]{}, errNotHeld
	}
	script := s.scripts.swapProvider
	if next.State == ProviderDraining && old.raw != "" {
		script = s.scripts.drainProvider
	}
	held := Held[RuntimeProvider]{key: old.key, x: old.x}
	err := s.atGeneration(ctx, func(generation uint64) error {
		next.Generation = generation
		plain, err := encodeProvider(next, old.x)
		if err != nil {
			return err
		}
		if held.raw, err = s.keys.seal(providerKind, old.key, plain); err != nil {
			return err
		}
		held.Value = next
		return s.writeProvider(ctx, script, "swap_provider", tag, old, held.raw, generation)
	})
	if err != nil {
		return Held[RuntimeProvider]{}, err
	}
	return held, nil
}

// RemoveRuntimeProvider deletes one as it was read; see [Store.SwapRuntimeProvider].
func (s *Store) RemoveRuntimeProvider(ctx context.Context, old Held[RuntimeProvider]) error {
	if old.key == "" || old.raw == "" {
		return errNotHeld
	}
	return s.atGeneration(ctx, func(generation uint64) error {
		return s.writeProvider(ctx, s.scripts.drainProvider, "remove_provider", ProviderTag(old.Value.ID), old, "", generation)
	})
}

func (s *Store) writeProvider(ctx context.Context, script script, op string, tag ath.Tag, old Held[RuntimeProvider], sealed string, generation uint64) error {
	keys, args := s.feed.announcing([]string{old.key, providersIndex, providersGeneration},
		[]any{old.raw, sealed, string(tag), generation, MaxRuntimeProviders}, announce(ProviderChanged, tag, ""))
	return s.do(ctx, op, func(ctx context.Context) error {
		return s.confirmed(ctx, script, errNotNext, keys, args...)
	})
}

// errNotNext says that the record, or the last generation, is another one than was read.
var errNotNext = fmt.Errorf("%w: it, or the generation", ErrChanged)

// ErrTooManyProviders says that there are [MaxRuntimeProviders].
var ErrTooManyProviders = errors.New("store: there are too many providers")

// generationTries is how often a write is tried that others, of other providers,
// are in front of.
const generationTries = 20

// atGeneration calls write with a generation that none has yet, again while others
// take it first: what is written is sealed with it, which no script can do.
func (s *Store) atGeneration(ctx context.Context, write func(generation uint64) error) error {
	for try := 1; ; try++ {
		last, count, err := s.lastGeneration(ctx)
		if err != nil {
			return err
		}
		err = write(last + 1)
		if !errors.Is(err, errNotNext) || try == generationTries {
			return err
		}
		now, after, err := s.lastGeneration(ctx)
		switch {
		case err != nil:
			return err
		case now == last && count == after && count >= MaxRuntimeProviders:
			return ErrTooManyProviders
		case now == last:
			return ErrChanged // it was the record
		}
	}
}

// lastGeneration is the highest that was given out, and how many providers there
// are. It is told by the index too, so that who loses one of both gives none out twice.
func (s *Store) lastGeneration(ctx context.Context) (last uint64, count int64, err error) {
	err = s.do(ctx, "provider_generation", func(ctx context.Context) error {
		var said *redis.StringCmd
		var top *redis.ZSliceCmd
		var length *redis.IntCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			said = batch.Get(ctx, providersGeneration)
			top = batch.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{Key: providersIndex, Start: -1, Stop: -1})
			length = batch.ZCard(ctx, providersIndex)
		})
		if err != nil {
			return err
		}
		if err := said.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		if err := errors.Join(top.Err(), length.Err()); err != nil {
			return err
		}
		count = length.Val()
		last, _ = strconv.ParseUint(said.Val(), 10, 53)
		for _, z := range top.Val() {
			if isGeneration(z.Score) {
				last = max(last, uint64(z.Score))
			}
		}
		return nil
	})
	return last, count, err
}

// swapProvider replaces, makes or deletes a run-time provider. KEYS record, index,
// generation, log; ARGV old bytes or "" for none, next bytes or "" for none, tag,
// generation, how many there may be, what announces it. The second time it writes the
// same again, so that it can be waited for.
const swapProvider = announceLua + `
local now = redis.call('GET', KEYS[1]) or ''
local mine = tonumber(ARGV[4])
local last = tonumber(redis.call('GET', KEYS[3]) or '0') or 0
if now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
if now ~= ARGV[2] or last ~= mine then
  local top = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
  if last >= mine or (tonumber(top[2]) or 0) >= mine then return 0 end
end
if ARGV[1] == '' and now == '' and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then return 0 end
redis.call('SET', KEYS[3], ARGV[4])
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[2])
  redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
end
return announce(4, 6, 1)`

// ProviderStamp is that of a run-time provider's record.
func (h Held[T]) ProviderStamp() ProviderStamp { return providerStamp(h.raw) }

package tokenstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// A PendingQuota limits how many registrations may be under review at once: of
// a domain, of an address, and in all. Anybody can make the store keep them, so
// they are counted over all replicas.
type PendingQuota struct {
	All, Domain, Address int

	// OfDomain and OfAddress say for whom it counts. Both are stored as digests;
	// "" counts in All only.
	OfDomain, OfAddress string
}

// A QuotaError says which limit is reached.
type QuotaError struct{ Where string }

// The limits that a [QuotaError] names.
const (
	QuotaAll      = "all"
	QuotaDomain   = "domain"
	QuotaAddress  = "address"
	QuotaSessions = "sessions"
)

func (e *QuotaError) Error() string { return "store: quota exhausted: " + e.Where }

// pendingTag groups what counts registrations under review into one slot.
const pendingTag = "pending"

func pendingKey(kind, of string) string {
	sum := sha256.Sum256([]byte(of))
	return "ath:{" + pendingTag + "}:" + kind + ":" + hex.EncodeToString(sum[:12])
}

func pendingMark(tag ath.Tag) string { return "ath:{" + pendingTag + "}:agent-of:" + string(tag) }

// ReservePending counts a registration that waits for an operator, before it is
// stored. One that is counted already is not counted again. A [*QuotaError]: a
// limit is reached. Unless [Store.ReleasePending] is called it counts for as
// long as such a registration stays.
func (s *Store) ReservePending(ctx context.Context, tag ath.Tag, r PendingQuota) error {
	if _, err := ath.ParseTag(string(tag)); err != nil {
		return errNoTag
	}
	places := []struct {
		key, where string
		limit      int
	}{
		{pendingKey("all", ""), QuotaAll, r.All},
		{pendingKey("domain", r.OfDomain), QuotaDomain, r.Domain},
		{pendingKey("address", r.OfAddress), QuotaAddress, r.Address},
	}
	if r.OfDomain == "" {
		places[1].limit = r.All
	}
	if r.OfAddress == "" {
		places[2].limit = r.All
	}
	until := s.now().Add(agentUndecided)
	keys, args := []string{pendingMark(tag)}, []any{string(tag), s.now().UnixMilli(), until.UnixMilli(), s.ttl(until), places[1].key + " " + places[2].key}
	for _, p := range places {
		keys, args = append(keys, p.key), append(args, p.limit)
	}
	full := int64(0)
	err := s.do(ctx, "reserve_pending", func(ctx context.Context) (err error) {
		full, err = s.count(ctx, s.scripts.reservePending, keys, args...)
		return err
	})
	if err == nil && full > 0 && int(full) <= len(places) {
		return &QuotaError{places[full-1].where}
	}
	return err
}

// ReleasePending counts a registration no longer: it was decided, or is gone.
func (s *Store) ReleasePending(ctx context.Context, tag ath.Tag) error {
	if _, err := ath.ParseTag(string(tag)); err != nil {
		return errNoTag
	}
	mark := pendingMark(tag)
	return s.do(ctx, "release_pending", func(ctx context.Context) error {
		var got *redis.StringCmd
		if err := s.server.ask(ctx, func(batch redis.Pipeliner) { got = batch.Get(ctx, mark) }); err != nil {
			return err
		}
		value, err := got.Result()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		if err != nil {
			return err
		}
		var asked []redis.Cmder
		err = s.server.ask(ctx, func(batch redis.Pipeliner) {
			asked = []redis.Cmder{batch.Del(ctx, mark), batch.ZRem(ctx, pendingKey("all", ""), string(tag))}
			var domain, address string
			if n, _ := fmt.Sscanf(value, "%s %s", &domain, &address); n == 2 {
				asked = append(asked, batch.ZRem(ctx, domain, string(tag)), batch.ZRem(ctx, address, string(tag)))
			}
		})
		for _, c := range asked {
			if err == nil {
				err = c.Err()
			}
		}
		return err
	})
}

// ReserveSession counts a session of an agent that is about to be opened; limit
// is how many may be open at once. A [*QuotaError]: the limit is reached.
func (s *Store) ReserveSession(ctx context.Context, agent ath.Tag, session ath.Tag, until time.Time, limit int) error {
	index, err := key(agent, sessionsIndex)
	if err != nil {
		return err
	}
	taken := int64(0)
	err = s.do(ctx, "reserve_session", func(ctx context.Context) (err error) {
		taken, err = s.count(ctx, s.scripts.reserveSession, []string{index},
			string(session), s.now().UnixMilli(), until.UnixMilli(), s.ttl(until), limit)
		return err
	})
	if err == nil && taken == 0 {
		return &QuotaError{QuotaSessions}
	}
	return err
}

// ReleaseSession counts a session no longer.
func (s *Store) ReleaseSession(ctx context.Context, agent ath.Tag, session ath.Tag) error {
	index, err := key(agent, sessionsIndex)
	if err != nil {
		return err
	}
	return s.do(ctx, "release_session", func(ctx context.Context) error {
		return s.askInt(ctx, func(batch redis.Pipeliner) *redis.IntCmd { return batch.ZRem(ctx, index, string(session)) })
	})
}

// sessionsIndex names the index of an agent's open sessions. It holds tags
// only and is not sealed.
const sessionsIndex = "sessions"

// quotaScripts count before something is stored. Like the others each is safe
// to send twice.
type quotaScripts struct{ reservePending, reserveSession *redis.Script }

func newQuotaScripts() quotaScripts {
	return quotaScripts{
		// KEYS mark, and the sorted sets of all, of the domain, of the address;
		// ARGV tag, Unix ms now and of the end, ttl in ms, the mark, the limits
		// in the order of the keys. 0: taken. Else the number of the full one.
		reservePending: redis.NewScript(`
for i = 2, 4 do redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', '(' .. ARGV[2]) end
if redis.call('EXISTS', KEYS[1]) == 0 then
  for i = 2, 4 do
    if redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[4 + i]) then return i - 1 end
  end
end
for i = 2, 4 do
  redis.call('ZADD', KEYS[i], ARGV[3], ARGV[1])
  redis.call('PEXPIRE', KEYS[i], ARGV[4])
end
redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[4])
return 0`),

		// KEYS index; ARGV session, Unix ms now and of the end, ttl in ms, limit
		reserveSession: redis.NewScript(`
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2])
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[5]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1`),
	}
}

package tokenstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// A Room says how many registrations may be under review at once: of a domain,
// of an address, and in all. They are what anybody can make the store keep, so
// that it is counted over all replicas.
type Room struct {
	All, Domain, Address int

	// Of whom is counted. Both are kept as digests. "" counts in all only.
	OfDomain, OfAddress string
}

// A FullError says that there is no room, and where.
type FullError struct{ Where string }

// Where there is no room.
const (
	FullAll      = "all"
	FullDomain   = "domain"
	FullAddress  = "address"
	FullSessions = "sessions"
)

func (e *FullError) Error() string { return "store: no room left: " + e.Where }

// pendingTag groups what counts registrations under review into one slot.
const pendingTag = "pending"

func pendingKey(kind, of string) string {
	sum := sha256.Sum256([]byte(of))
	return "ath:{" + pendingTag + "}:" + kind + ":" + hex.EncodeToString(sum[:12])
}

func pendingMark(tag ath.Tag) string { return "ath:{" + pendingTag + "}:agent-of:" + string(tag) }

// TakeRoom counts a registration that waits for an operator, before it is
// stored. One that is counted already is not counted again. A [*FullError]:
// there is no room. Unless [Store.GiveRoom] is called it is counted for as
// long as such a registration stays.
func (s *Store) TakeRoom(ctx context.Context, tag ath.Tag, r Room) error {
	if _, err := ath.ParseTag(string(tag)); err != nil {
		return errNoTag
	}
	places := []struct {
		key, where string
		limit      int
	}{
		{pendingKey("all", ""), FullAll, r.All},
		{pendingKey("domain", r.OfDomain), FullDomain, r.Domain},
		{pendingKey("address", r.OfAddress), FullAddress, r.Address},
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
	err := s.do(ctx, "take_room", func(ctx context.Context) (err error) {
		full, err = s.count(ctx, s.scripts.takeRoom, keys, args...)
		return err
	})
	if err == nil && full > 0 && int(full) <= len(places) {
		return &FullError{places[full-1].where}
	}
	return err
}

// GiveRoom counts a registration no longer: it is decided, or gone.
func (s *Store) GiveRoom(ctx context.Context, tag ath.Tag) error {
	if _, err := ath.ParseTag(string(tag)); err != nil {
		return errNoTag
	}
	mark := pendingMark(tag)
	return s.do(ctx, "give_room", func(ctx context.Context) error {
		var got *redis.StringCmd
		if err := s.server.ask(ctx, func(batch redis.Pipeliner) { got = batch.Get(ctx, mark) }); err != nil {
			return err
		}
		value, err := got.Result()
		if err == redis.Nil {
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

// TakeSession counts a session of an agent that is about to be opened, of
// which there may be so many at once. A [*FullError]: there is no room.
func (s *Store) TakeSession(ctx context.Context, agent ath.Tag, session ath.Tag, until time.Time, limit int) error {
	index, err := key(agent, sessionsIndex)
	if err != nil {
		return err
	}
	taken := int64(0)
	err = s.do(ctx, "take_session", func(ctx context.Context) (err error) {
		taken, err = s.count(ctx, s.scripts.takeSession, []string{index},
			string(session), s.now().UnixMilli(), until.UnixMilli(), s.ttl(until), limit)
		return err
	})
	if err == nil && taken == 0 {
		return &FullError{FullSessions}
	}
	return err
}

// GiveSession counts a session no longer.
func (s *Store) GiveSession(ctx context.Context, agent ath.Tag, session ath.Tag) error {
	index, err := key(agent, sessionsIndex)
	if err != nil {
		return err
	}
	return s.do(ctx, "give_session", func(ctx context.Context) error {
		return s.askInt(ctx, func(batch redis.Pipeliner) *redis.IntCmd { return batch.ZRem(ctx, index, string(session)) })
	})
}

// sessionsIndex names the index of an agent's open sessions. It holds tags
// only and is not sealed.
const sessionsIndex = "sessions"

// roomScripts count before something is stored. Like the others each is safe
// to send twice.
type roomScripts struct{ takeRoom, takeSession *redis.Script }

func newRoomScripts() roomScripts {
	return roomScripts{
		// KEYS mark, and the sorted sets of all, of the domain, of the address;
		// ARGV tag, Unix ms now and of the end, ttl in ms, the mark, the limits
		// in the order of the keys. 0: taken. Else the number of the full one.
		takeRoom: redis.NewScript(`
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
		takeSession: redis.NewScript(`
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2])
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[5]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1`),
	}
}

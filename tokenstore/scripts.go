package tokenstore

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// All keys of a script share one hash tag, so each script runs in one slot.
// Each returns 1 for "done" and 0 for "not as expected", and is safe to send
// twice: what it writes is unique to the call, so that it knows its own work,
// and writes it again, so that the second try can be waited for too.
type scripts struct {
	roomScripts
	swap, swapHosts, putGrant, deleteGrant, revoke, remove, note *redis.Script
}

func newScripts() scripts {
	return scripts{
		roomScripts: newRoomScripts(),
		swapHosts:   newSwapHosts(),

		// KEYS record; ARGV old bytes, next bytes, ttl in ms or 0 for none
		swap: redis.NewScript(`
local now = redis.call('GET', KEYS[1])
if now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1`),

		// KEYS connection, grant, index; ARGV sealed grant, its ttl in ms,
		// its digest, its expiry in Unix ms, the least ttl of the connection.
		// An index without a TTL shows -1 and so gets one.
		putGrant: redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[3])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[1], ARGV[5]) end
if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[3], ARGV[2]) end
return 1`),

		// KEYS grant, index; ARGV digest
		deleteGrant: redis.NewScript(`
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1`),

		// KEYS connection, grant, index; ARGV old bytes, tombstone, its ttl in
		// ms, digest, Unix ms before which an expired grant holds no connection
		revoke: redis.NewScript(`
local now = redis.call('GET', KEYS[2])
if now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZREM', KEYS[3], ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[5])
if redis.call('ZCARD', KEYS[3]) == 0 then redis.call('DEL', KEYS[1]) end
return 1`),

		// KEYS record; ARGV old bytes. Gone is as good as removed; the SET is
		// there so that even then something is written that can be waited for.
		remove: redis.NewScript(`
local now = redis.call('GET', KEYS[1])
if now and now ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], '', 'PX', 1)
redis.call('DEL', KEYS[1])
return 1`),

		// KEYS index; ARGV tag, its expiry in Unix ms, ttl of the index in ms,
		// Unix ms before which an entry is over
		note: redis.NewScript(`
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[4])
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1`),
	}
}

// A runner executes a script.
type runner func(ctx context.Context, script *redis.Script, unmet error, keys []string, args ...any) error

// run executes a script and returns unmet unless it says "done".
func (s *Store) run(ctx context.Context, script *redis.Script, unmet error, keys []string, args ...any) error {
	var ran *redis.Cmd
	err := s.server.ask(ctx, func(batch redis.Pipeliner) { ran = script.EvalSha(ctx, batch, keys, args...) })
	if err == nil && redis.HasErrorPrefix(ran.Err(), "NOSCRIPT") {
		err = s.server.ask(ctx, func(batch redis.Pipeliner) { ran = script.Eval(ctx, batch, keys, args...) })
	}
	if err != nil {
		return err
	}
	switch done, err := ran.Int(); {
	case err != nil:
		return err
	case done != 1:
		return unmet
	}
	return nil
}

package tokenstore

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// All keys of a script share one hash tag, so each script runs in one slot.
// Each returns 1 for "done" and 0 for "not as expected", and is safe to send
// twice: what it writes is unique to the call, so that a retry recognizes its
// first attempt, and writes it again, so that the retry can be waited for too. What
// announces a change may return more than 1; see announceLua.
type scripts struct {
	quotaScripts
	refreshScripts
	revocationScripts
	swap, putGrant, deleteGrant, revoke, remove, note script
	// swapRevoking, endSession and onceRevoking are for revocations.
	swapRevoking, endSession, onceRevoking script
	swapHosts, swapHostsRevoking           script
	swapIssuer                             script
	swapProvider, drainProvider            script
	endConnection, logChanges              script
	ownerScripts
	rewrapScripts
}

// A script is run as it is, or, if it revokes, with the flag by which Redis 7 runs
// it also when its memory is full: what it writes is no larger than what it
// replaces, or small, and only registered agents and operators can cause it. What
// grants rights fails on a full server.
type script struct{ plain, whenFull *redis.Script }

func normal(text string) script { return script{plain: redis.NewScript(text)} }

func whenFull(text string) script {
	return script{plain: redis.NewScript(text), whenFull: redis.NewScript("#!lua flags=allow-oom" + text)}
}

func newScripts() scripts {
	// KEYS value; ARGV caller, ttl in ms. What SET NX GET does, of which a
	// full server would refuse the SET.
	const once = `
local now = redis.call('GET', KEYS[1])
if now then
  if now == ARGV[1] then return 1 end
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`
	// KEYS record, log; ARGV old bytes, next bytes, ttl in ms or 0 for none, what
	// announces that an agent has changed; none of other records
	const swap = announceLua + `
local now = redis.call('GET', KEYS[1])
if now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return announce(2, 4, 1)`
	// KEYS session, mark; ARGV old bytes, next bytes, ttl in ms, what this call
	// leaves at the mark. A session that is there though the mark is was put
	// back from before its end.
	const endSession = `
local now = redis.call('GET', KEYS[1])
if now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
local mark = redis.call('GET', KEYS[2])
if mark and mark ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3])
return 1`
	return scripts{
		quotaScripts:   newQuotaScripts(),
		refreshScripts: newRefreshScripts(), revocationScripts: newRevocationScripts(),
		swapHosts: normal(swapHosts), swapHostsRevoking: whenFull(swapHosts),

		swapIssuer:   normal(swapIssuer),
		swapProvider: normal(swapProvider), drainProvider: whenFull(swapProvider),
		endSession: whenFull(endSession),
		swap:       normal(swap), swapRevoking: whenFull(swap), onceRevoking: whenFull(once),

		// KEYS connection, grant, index, owner; ARGV sealed grant, its ttl in ms,
		// its digest, its expiry in Unix ms, the least ttl of the connection, the
		// sealed owner, the entry of an agent without a token. With a renewal also KEYS
		// renewal; ARGV its old bytes or "" for none, its next bytes, its ttl in ms, its
		// entry, its end in Unix ms, Unix ms before which an expired entry is of no use:
		// 2 where it is not as it was read. An index without a TTL
		// shows -1 and so gets one. The grant is written first: a full server refuses a
		// script's first write only, and PEXPIRE never.
		putGrant: normal(`
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if KEYS[5] then
  local now = redis.call('GET', KEYS[5]) or ''
  if now ~= ARGV[8] and now ~= ARGV[9] then return 2 end
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
if redis.call('EXISTS', KEYS[4]) == 0 then redis.call('SET', KEYS[4], ARGV[6], 'PX', ARGV[5]) end
if redis.call('PTTL', KEYS[4]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[4], ARGV[5]) end
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[3])
redis.call('ZREM', KEYS[3], ARGV[7])
if KEYS[5] then
  redis.call('SET', KEYS[5], ARGV[9], 'PX', ARGV[10])
  redis.call('ZADD', KEYS[3], ARGV[12], ARGV[11])
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[13])
  if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[10]) then redis.call('PEXPIRE', KEYS[3], ARGV[10]) end
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[1], ARGV[5]) end
if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[3], ARGV[2]) end
return 1`),

		// KEYS grant, index; ARGV digest. With a renewal also KEYS renewal, ARGV its entry
		deleteGrant: whenFull(`
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if KEYS[3] then
  redis.call('DEL', KEYS[3])
  redis.call('ZREM', KEYS[2], ARGV[2])
end
return 1`),

		// KEYS connection, grant or renewal, index, owner, revocation, log; ARGV old
		// bytes, tombstone, its ttl in ms, its entry, Unix ms before which what is over
		// holds no connection, what endLua needs, what announces its end
		// and that of the connection. Nothing of a grant is written before it is known that
		// the connection ends as it should: the second time there is no grant to tell.
		revoke: whenFull(announceLua + endLua + `
local now = redis.call('GET', KEYS[2])
if now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[5])
local last = true
for _, digest in ipairs(redis.call('ZRANGE', KEYS[3], 0, 1)) do
  if digest ~= ARGV[4] then last = false end
end
if last and not ends(1, 5, 6) then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZREM', KEYS[3], ARGV[4])
if not last then return announce(6, 9, 1) end
redis.call('DEL', KEYS[1], KEYS[4])
return announce(6, 9, 2)`),

		// KEYS connection, owner, revocation, log; ARGV what endLua needs, what
		// announces its end. The SET is there so that something is written that can be
		// waited for, also the second time.
		endConnection: whenFull(announceLua + endLua + `
if not ends(1, 3, 1) then return 0 end
redis.call('SET', KEYS[1], '', 'PX', 1)
redis.call('DEL', KEYS[1], KEYS[2])
return announce(4, 4, 1)`),

		logChanges:   whenFull(logChanges),
		ownerScripts: newOwnerScripts(), rewrapScripts: newRewrapScripts(),

		// KEYS record, log; ARGV old bytes, what announces the removal. Gone is as
		// good as removed; the SET is there so that even then something is written
		// that can be waited for.
		remove: whenFull(announceLua + `
local now = redis.call('GET', KEYS[1])
if now and now ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], '', 'PX', 1)
redis.call('DEL', KEYS[1])
return announce(2, 2, 1)`),

		// KEYS index; ARGV tag, its expiry in Unix ms, ttl of the index in ms,
		// Unix ms before which an entry is over
		note: normal(`
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[4])
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1`),
	}
}

// count executes a script and returns what it says.
func (s *Store) count(ctx context.Context, text *redis.Script, keys []string, args ...any) (int64, error) {
	var ran *redis.Cmd
	err := s.server.ask(ctx, func(batch redis.Pipeliner) { ran = text.EvalSha(ctx, batch, keys, args...) })
	if err == nil && redis.HasErrorPrefix(ran.Err(), "NOSCRIPT") {
		err = s.server.ask(ctx, func(batch redis.Pipeliner) { ran = text.Eval(ctx, batch, keys, args...) })
	}
	if err != nil {
		return 0, err
	}
	return ran.Int64()
}

// run executes a script and returns unmet unless it says "done".
func (s *Store) run(ctx context.Context, script script, unmet error, keys []string, args ...any) error {
	return s.pick(script, func(text *redis.Script) error {
		done, err := s.count(ctx, text, keys, args...)
		if err != nil {
			s.mayHaveDone(err, args)
			return err
		}
		return s.verdict(done, unmet, args)
	})
}

// pick runs a script as it should run. Work-alikes of Redis that know no flags
// of scripts, as the embedded one, get it without.
func (s *Store) pick(script script, run func(*redis.Script) error) error {
	if script.whenFull == nil || s.noFlags.Load() {
		return run(script.plain)
	}
	err := run(script.whenFull)
	if isReply(err) && strings.Contains(strings.ToLower(err.Error()), "compiling script") {
		s.noFlags.Store(true)
		return run(script.plain)
	}
	return err
}

package tokenstore

// ownerScripts are about finding and ending connections without their tokens.
type ownerScripts struct{ used, endUser, share script }

func newOwnerScripts() ownerScripts {
	return ownerScripts{
		// KEYS connection, owner; ARGV sealed owner, ttl in ms. A connection that has
		// ended gets no owner again.
		used: normal(`
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local left = math.max(redis.call('PTTL', KEYS[2]), tonumber(ARGV[2]), 1)
redis.call('SET', KEYS[2], ARGV[1], 'PX', string.format('%.0f', left))
return 1`),

		// KEYS connection, owner, grants, order, revocation; ARGV the connection's old bytes or "" for
		// none, its next bytes, its least ttl in ms, the sealed owner, the ttl of what says
		// when its tokens came, or 0 to leave that as it is, the entry of an agent
		// without a token, its expiry in Unix ms, 1 if an epoch begins, in which no grant of
		// before counts. An attempt to refresh what was there
		// knows by the bytes that it is over. What an earlier end left to revoke is
		// forgotten: the server has ended it with this consent, and would end this one by it.
		share: normal(`
local now = redis.call('GET', KEYS[1]) or ''
if now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
if ARGV[8] == '1' and now == ARGV[1] then redis.call('DEL', KEYS[3]) end
local left = string.format('%.0f', math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[3]), 1))
redis.call('SET', KEYS[1], ARGV[2], 'PX', left)
redis.call('DEL', KEYS[5])
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('SET', KEYS[2], ARGV[4], 'PX', left) end
redis.call('PEXPIRE', KEYS[2], left)
redis.call('ZADD', KEYS[3], 'GT', ARGV[7], ARGV[6])
if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[3], ARGV[3]) end
if ARGV[5] ~= '0' then redis.call('SET', KEYS[4], '1', 'PX', ARGV[5]) end
return 1`),

		// KEYS marks; ARGV what they hold, ttl in ms
		endUser: whenFull(`
for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2]) end
return 1`),
	}
}

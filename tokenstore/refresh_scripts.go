package tokenstore

// refreshScripts run on a full server too: what they write is small, or no larger
// than what it replaces, and only who has a live token can cause it.
type refreshScripts struct {
	beginRefresh, renewLease, finishRefresh, failRefresh, noteKeep, heal script
}

func newRefreshScripts() refreshScripts {
	return refreshScripts{
		// KEYS connection, lease, attempt; ARGV the connection's old bytes, this
		// caller's lease, its ttl in ms, the attempt's old bytes or "" for none, its
		// new bytes, its ttl in ms
		beginRefresh: whenFull(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[2] then return 0 end
local tried = redis.call('GET', KEYS[3]) or ''
if tried ~= ARGV[4] and tried ~= ARGV[5] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('SET', KEYS[3], ARGV[5], 'PX', ARGV[6])
return 1`),

		// KEYS lease; ARGV this caller's, its ttl in ms. One that was lost is taken
		// again, unless somebody else has.
		renewLease: whenFull(`
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`),

		// KEYS connection, lease, attempt, owner; ARGV the connection's old bytes, its next
		// bytes, this caller's lease, its attempt, the connection's least ttl in ms.
		// A connection that has ended is not brought back. Somebody else's lease and
		// attempt stay.
		finishRefresh: whenFull(`
local now = redis.call('GET', KEYS[1])
if now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
local left = math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[5]), 1)
redis.call('SET', KEYS[1], ARGV[2], 'PX', string.format('%.0f', left))
redis.call('PEXPIRE', KEYS[4], string.format('%.0f', left))
if redis.call('GET', KEYS[3]) == ARGV[4] then redis.call('DEL', KEYS[3]) end
if redis.call('GET', KEYS[2]) == ARGV[3] then redis.call('DEL', KEYS[2]) end
return 1`),

		// KEYS connection, lease, attempt, order, revocation; ARGV the connection's old
		// bytes, its next bytes, the ttl of what says when its tokens came. It gives,
		// so that a full server refuses it. A connection that has ended is not brought
		// back. Who refreshes the tokens of before has lost its lease, and knows by the
		// bytes that it is over. What an older end left to revoke under this tag would
		// end the new tokens.
		heal: normal(`
local now = redis.call('GET', KEYS[1])
if not now or now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
local left = math.max(redis.call('PTTL', KEYS[1]), 1)
redis.call('SET', KEYS[1], ARGV[2], 'PX', string.format('%.0f', left))
redis.call('DEL', KEYS[2], KEYS[3], KEYS[5])
redis.call('SET', KEYS[4], '1', 'PX', ARGV[3])
return 1`),

		// KEYS index; ARGV tag, Unix ms, the least ttl of the index in ms
		noteKeep: normal(`
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1`),

		// KEYS lease, attempt; ARGV this caller's lease, its attempt, what replaces
		// that or "", its ttl in ms. The SET is there so that something is written
		// that can be waited for.
		failRefresh: whenFull(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
local tried = redis.call('GET', KEYS[2]) or ARGV[3]
if tried ~= ARGV[2] and tried ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
if ARGV[3] == '' then redis.call('DEL', KEYS[2]) end
return 1`),
	}
}

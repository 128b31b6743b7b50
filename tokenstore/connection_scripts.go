package tokenstore

// ownerScripts are about finding and ending connections without their tokens.
type ownerScripts struct{ used, endUser script }

func newOwnerScripts() ownerScripts {
	return ownerScripts{
		// KEYS connection, owner; ARGV sealed owner, ttl in ms. A connection that has
		// ended gets no owner again.
		used: normal(`
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local left = math.max(redis.call('PTTL', KEYS[2]), tonumber(ARGV[2]), 1)
redis.call('SET', KEYS[2], ARGV[1], 'PX', string.format('%.0f', left))
return 1`),

		// KEYS marks; ARGV what they hold, ttl in ms
		endUser: whenFull(`
for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2]) end
return 1`),
	}
}

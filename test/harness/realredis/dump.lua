-- All keys of this node: a key, its content, the next key, and so on. A script
-- runs alone, and time stands still in it: no key goes between list and read.

local function pairs_of(all)
	local out = {}
	for i = 1, #all, 2 do
		out[#out + 1] = all[i] .. ' ' .. all[i + 1]
	end
	return out
end

local function sorted(all)
	table.sort(all)
	return table.concat(all, '\n')
end

local read = {
	string = function(key) return redis.call('GET', key) end,
	hash = function(key) return sorted(pairs_of(redis.call('HGETALL', key))) end,
	list = function(key) return table.concat(redis.call('LRANGE', key, 0, -1), '\n') end,
	set = function(key) return sorted(redis.call('SMEMBERS', key)) end,
	zset = function(key)
		return table.concat(pairs_of(redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')), '\n')
	end,
	stream = function(key)
		local out = {}
		for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do
			out[#out + 1] = entry[1]
			for _, line in ipairs(pairs_of(entry[2])) do
				out[#out + 1] = line
			end
		end
		return table.concat(out, '\n')
	end,
}

local out = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
	local kind = redis.call('TYPE', key).ok
	if not read[kind] then
		return redis.error_reply('a dump of type ' .. kind .. ' is not known: ' .. key)
	end
	out[#out + 1] = key
	out[#out + 1] = read[kind](key)
end
return out

package tokenstore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// changesKept is how many changes the log holds: some 200 KB. Who was away for
// longer than it took to make as many gets [Everything].
const changesKept = 1000

// changesLog is a sorted set of announcements, each with its generation as
// score. It always has an entry while athd runs, so that an empty one says that
// somebody emptied Redis. It goes 30 days after the last change.
const changesLog = "ath:{changes}:log"

// announceLua defines announce for the scripts that change something.
//
// k is the index of the log among KEYS, a that of the channel among ARGV, "" for
// none, and behind it come how many entries are kept, and n announcements. The
// log may be in another slot; then it is not among KEYS, and what is published
// has no generation yet. Without a channel in ARGV there is nothing to announce.
//
// A last entry whose score is no generation was written by nobody of us, and none
// can follow it: the log begins again, which [feed.after] notices.
//
// It returns 1 if all of it is in the log, else 1 more than how many are not
// known to be. It raises no error, since the change itself is made. To announce
// again what is in the log does nothing.
const announceLua = `
local function announce(k, a, n)
  if not ARGV[a] then return 1 end
  for i = a + 2, a + 1 + n do
    local said = '0'
    if KEYS[k] then
      local top = redis.pcall('ZRANGE', KEYS[k], -1, -1, 'WITHSCORES')
      if top.err then return 1 + n end
      local generation = (tonumber(top[2]) or 0) + 1
      if generation < 1 or generation > 9007199254740991 or generation % 1 ~= 0 then
        redis.pcall('DEL', KEYS[k])
        generation = 1
      end
      said = string.format('%.0f', generation)
      local added = redis.pcall('ZADD', KEYS[k], 'NX', said, ARGV[i])
      if type(added) == 'table' then return 1 + n end
      if added == 0 then said = nil end
      redis.pcall('ZREMRANGEBYSCORE', KEYS[k], '-inf', string.format('%.0f', generation - tonumber(ARGV[a + 1])))
      redis.pcall('PEXPIRE', KEYS[k], '2592000000')
    end
    if said and ARGV[a] ~= '' then redis.pcall('PUBLISH', ARGV[a], said .. ' ' .. ARGV[i]) end
  end
  if KEYS[k] then return 1 end
  return 1 + n
end`

// announcing adds to a script's keys and arguments what announce needs.
func (f *feed) announcing(keys []string, args []any, said ...announcement) ([]string, []any) {
	if !f.apart {
		keys = append(slices.Clone(keys), changesLog)
	}
	return keys, append(slices.Clone(args), f.announcingArgs(said)...)
}

func (f *feed) announcingArgs(said []announcement) []any {
	channel := f.channel
	if !f.publishes.Load() {
		channel = ""
	}
	args := []any{channel, changesKept}
	for _, a := range said {
		args = append(args, a)
	}
	return args
}

// unannounced returns what a script was given to announce.
func unannounced(args []any) (said []announcement) {
	for _, arg := range args {
		if a, ok := arg.(announcement); ok {
			said = append(said, a)
		}
	}
	return said
}

// verdict reads what a script returned, and has written to the log what it could
// not write itself.
func (s *Store) verdict(done int64, unmet error, args []any) error {
	switch {
	case done < 1:
		return unmet
	case done > 1:
		said := unannounced(args)
		s.feed.unwritten.add(said[:min(len(said), int(done-1))]...)
	}
	return nil
}

// mayHaveDone is for a script of which no answer came. Where the log is apart,
// nobody else reports what it may have done.
func (s *Store) mayHaveDone(err error, args []any) {
	if s.feed.apart && !isReply(err) {
		s.feed.unwritten.add(unannounced(args)...)
	}
}

// maxUnwritten is how many announcements wait for a log that cannot be written.
// More become one of [Everything].
const maxUnwritten = 4 * changesKept

// unwritten holds what is to be written to the log.
type unwritten struct {
	mu      sync.Mutex
	waiting []announcement
	wake    chan struct{} // holds one where something waits
}

func (u *unwritten) add(said ...announcement) {
	if len(said) == 0 {
		return
	}
	u.mu.Lock()
	if len(u.waiting)+len(said) > maxUnwritten {
		u.waiting, said = nil, []announcement{announce(Everything, "", "")}
	}
	u.waiting = append(u.waiting, said...)
	u.mu.Unlock()
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// first returns as many as one script takes.
func (u *unwritten) first() []announcement {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.waiting[:min(len(u.waiting), 100)])
}

// done removes what was written. More may have come meanwhile, or less be left.
func (u *unwritten) done(written []announcement) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.waiting) >= len(written) && u.waiting[0] == written[0] {
		u.waiting = u.waiting[len(written):]
	}
}

func (u *unwritten) len() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.waiting)
}

// logChanges writes announcements to the log, also when the server is full.
// KEYS log; ARGV channel, how many are kept, announcements
const logChanges = announceLua + `
if announce(1, 1, #ARGV - 2) == 1 then return 1 end
return 0`

var errLogRefused = errors.New("the log of the change feed takes no entry")

// write is one round trip. The breaker is not asked: what waits here has
// happened, and others must learn of it.
func (f *feed) write(ctx context.Context, said []announcement) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	return f.store.pick(f.store.scripts.logChanges, func(text *redis.Script) error {
		done, err := f.store.count(ctx, text, []string{changesLog}, f.announcingArgs(said)...)
		if err == nil && done != 1 {
			err = errLogRefused
		}
		return err
	})
}

// writeUnwritten writes to the log what waits for it, until ctx ends, and then
// tries once more.
func (f *feed) writeUnwritten(ctx context.Context) {
	const least, most = 20 * time.Millisecond, time.Second
	pause, failing := least, false
	for {
		said := f.unwritten.first()
		if len(said) == 0 {
			select {
			case <-ctx.Done():
				if f.unwritten.len() == 0 {
					return
				}
			case <-f.unwritten.wake:
			}
			continue
		}
		err := f.write(context.WithoutCancel(ctx), said)
		if err == nil {
			f.unwritten.done(said)
			if failing {
				f.log.Info("change feed written again")
			}
			pause, failing = least, false
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if !failing && pause > 8*least { // not for a moment's failure
			failing = true
			f.log.Warn("change feed not written", "waiting", f.unwritten.len(), "reason", Reason(err), "error", err,
				"hint", "other athd may learn late of what was revoked or changed here; it is tried until it succeeds")
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, most)
	}
}

// entries are some of the log, in order, and generations ascend.
type entries []redis.Z

// from reads the log from a generation on.
func (f *feed) from(ctx context.Context, generation uint64, count int64) (entries, error) {
	return f.read(ctx, redis.ZRangeArgs{Key: changesLog, Start: generation, Stop: "+inf", ByScore: true, Count: count})
}

// top reads the last entry.
func (f *feed) top(ctx context.Context) (entries, error) {
	return f.read(ctx, redis.ZRangeArgs{Key: changesLog, Start: -1, Stop: -1})
}

func (f *feed) read(ctx context.Context, what redis.ZRangeArgs) (entries, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	var got *redis.ZSliceCmd
	err := f.store.server.ask(ctx, func(batch redis.Pipeliner) { got = batch.ZRangeArgsWithScores(ctx, what) })
	if err != nil {
		return nil, err
	}
	return got.Result()
}

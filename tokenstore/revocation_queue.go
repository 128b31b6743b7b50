package tokenstore

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// revocationScripts run on a full server too: an entry is some bytes, and a record
// is no larger than the connection that it is left of.
type revocationScripts struct{ putRevocation, listRevocation, waitRevocation script }

func newRevocationScripts() revocationScripts {
	return revocationScripts{
		// KEYS record; ARGV sealed, ttl in ms
		putRevocation: whenFull(`
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`),

		// KEYS queue; ARGV tag, Unix ms, 'LT': not later than it is already, or 'XX':
		// only if it is there
		listRevocation: whenFull(`
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[2], ARGV[1])
return 1`),

		// KEYS index of what waits for a user's other connections; ARGV tag, Unix ms
		// when it is over, ttl of the index in ms, Unix ms now, how many there may be.
		// 0: there are as many.
		waitRevocation: whenFull(`
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[4])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
if redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[5]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 0
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1`),
	}
}

// unlisted are revocations whose entries could not be written: the queue is in
// another slot than they are.
type unlisted struct {
	mu   sync.Mutex
	tags []ath.Tag
	wake chan struct{} // an entry is due
}

const maxUnlisted = 10_000

func newUnlisted() *unlisted { return &unlisted{wake: make(chan struct{}, 1)} }

func (u *unlisted) add(tag ath.Tag) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.tags) < maxUnlisted && !slices.Contains(u.tags, tag) {
		u.tags = append(u.tags, tag)
	}
}

func (u *unlisted) take() []ath.Tag {
	u.mu.Lock()
	defer u.mu.Unlock()
	tags := u.tags
	u.tags = nil
	return tags
}

func (u *unlisted) signal() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// RevocationQueued receives when this Store has queued a revocation.
func (s *Store) RevocationQueued() <-chan struct{} { return s.unlisted.wake }

// announceRevocation writes an entry ahead of its record, so that the record is
// found also if this athd dies in between. An entry that leads to nothing is
// harmless.
func (s *Store) announceRevocation(ctx context.Context, tag ath.Tag) {
	if err := s.listRevocation(ctx, tag, s.now().Add(revocationSettles), "LT"); err != nil {
		s.log.DebugContext(ctx, "revocation not announced", "error", err)
	}
}

// queueRevocation writes the entry of a record that is there. If that cannot be
// now, [Store.DueRevocations] does.
func (s *Store) queueRevocation(ctx context.Context, tag ath.Tag) {
	if err := s.listRevocation(ctx, tag, s.now(), "LT"); err != nil {
		s.unlisted.add(tag)
	}
	s.unlisted.signal()
}

// PostponeRevocation says when an entry is looked at next.
func (s *Store) PostponeRevocation(ctx context.Context, tag ath.Tag, at time.Time) error {
	return s.listRevocation(ctx, tag, at, "XX")
}

func (s *Store) listRevocation(ctx context.Context, tag ath.Tag, at time.Time, how string) error {
	return s.do(ctx, "list_revocation", func(ctx context.Context) error {
		return s.confirmed(ctx, s.scripts.listRevocation, ErrChanged, []string{revocationsDue}, string(tag), at.UnixMilli(), how)
	})
}

// A RevocationEntry is a place in the queue.
type RevocationEntry struct {
	Tag ath.Tag
	At  time.Time // it is due
}

// DueRevocations returns the first entries of the queue that are due, at most so
// many.
func (s *Store) DueRevocations(ctx context.Context, limit int) ([]RevocationEntry, error) {
	for _, tag := range s.unlisted.take() {
		if err := s.listRevocation(ctx, tag, s.now(), "LT"); err != nil {
			s.unlisted.add(tag)
		}
	}
	return s.entries(ctx, "due_revocations", redis.ZRangeArgs{
		Key: revocationsDue, Start: "-inf", Stop: strconv.FormatInt(s.now().UnixMilli(), 10), ByScore: true, Count: int64(limit),
	})
}

func (s *Store) entries(ctx context.Context, op string, query redis.ZRangeArgs) (out []RevocationEntry, err error) {
	err = s.do(ctx, op, func(ctx context.Context) error {
		var got *redis.ZSliceCmd
		if err := s.server.ask(ctx, func(batch redis.Pipeliner) { got = batch.ZRangeArgsWithScores(ctx, query) }); err != nil {
			return err
		}
		found, err := got.Result()
		out = nil
		for _, z := range found {
			out = append(out, entryOf(z))
		}
		return err
	})
	return out, err
}

func entryOf(z redis.Z) RevocationEntry {
	tag, _ := z.Member.(string)
	return RevocationEntry{ath.Tag(tag), time.UnixMilli(int64(z.Score)).UTC()}
}

// A RevocationQueue says how long the queue is.
type RevocationQueue struct {
	Length int       // with those that wait for a user's other connections
	Next   time.Time // the first is due; zero: there is none
}

// RevocationQueue looks at the queue.
func (s *Store) RevocationQueue(ctx context.Context) (RevocationQueue, error) {
	var out RevocationQueue
	err := s.do(ctx, "revocation_queue", func(ctx context.Context) error {
		var length *redis.IntCmd
		var first *redis.ZSliceCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			length = batch.ZCard(ctx, revocationsDue)
			first = batch.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{Key: revocationsDue, Start: 0, Stop: 0})
		})
		if err != nil {
			return err
		}
		out = RevocationQueue{Length: int(length.Val())}
		if z := first.Val(); len(z) > 0 {
			out.Next = time.UnixMilli(int64(z[0].Score)).UTC()
		}
		return errors.Join(length.Err(), first.Err())
	})
	return out, err
}

// MaxWaiting is how many revocations of one user wait for other connections.
const MaxWaiting = 100

// WaitRevocation leaves a revocation until the user's other connections have
// ended, and has it looked at again at a time, in case nobody wakes it.
// ErrExists: as many of the user's wait already.
func (s *Store) WaitRevocation(ctx context.Context, r Held[Revocation], again time.Time) error {
	index, err := key(s.keys.userTags(r.Value.User)[0], string(waitingKind))
	if err != nil {
		return err
	}
	tag, over := tagOf(r.key), r.Value.Ended.Add(RevocationKept)
	err = s.do(ctx, "wait_revocation", func(ctx context.Context) error {
		return s.run(ctx, s.scripts.waitRevocation, ErrExists, []string{index},
			string(tag), over.UnixMilli(), s.ttl(over.Add(clockSkew)), s.now().UnixMilli(), MaxWaiting)
	})
	if err != nil {
		return err
	}
	return s.PostponeRevocation(ctx, tag, again)
}

// WakeRevocations makes what waits for a user's other connections due. It may be
// called though there are some: then they wait again.
func (s *Store) WakeRevocations(ctx context.Context, user string) error {
	for _, of := range s.keys.userTags(user) {
		index, err := key(of, string(waitingKind))
		if err != nil {
			return err
		}
		waiting, err := s.entries(ctx, "waiting_revocations", redis.ZRangeArgs{Key: index, Start: 0, Stop: -1})
		if err != nil {
			return err
		}
		for _, e := range waiting {
			// Not anew: one that is over has no entry any more.
			if err := s.PostponeRevocation(ctx, e.Tag, s.now()); err != nil {
				return err
			}
			s.forgetWaiting(ctx, user, e.Tag)
			s.unlisted.signal()
		}
	}
	return nil
}

// forgetWaiting trims an index, of which an entry too many is harmless.
func (s *Store) forgetWaiting(ctx context.Context, user string, tag ath.Tag) {
	for _, of := range s.keys.userTags(user) {
		index, err := key(of, string(waitingKind))
		if err != nil {
			return
		}
		err = s.do(ctx, "forget_waiting", func(ctx context.Context) error {
			return s.askInt(ctx, func(batch redis.Pipeliner) *redis.IntCmd { return batch.ZRem(ctx, index, string(tag)) })
		})
		if err != nil {
			s.log.DebugContext(ctx, "waiting revocation not forgotten", "error", err)
		}
	}
}

// OfUser calls found with each connection of a user that is there, by the user's
// own index, until it returns false. It is no listing for operators: connections
// that an athd made which keeps no such index are not found.
func (s *Store) OfUser(ctx context.Context, user string, found func(*ConnectionInfo) bool) error {
	var own []string
	for _, tag := range s.keys.userTags(user) {
		index, err := key(tag, string(userConnsKind))
		if err != nil {
			return err
		}
		own = append(own, index)
	}
	slices.Sort(own)
	q := ConnectionQuery{User: user, Limit: connectionBatch}
	for at := (connectionCursor{}); ; {
		w := &connectionWalk{Store: s, query: q, at: at, left: maxWalked}
		if err := w.own(ctx, own); err != nil {
			return err
		}
		for i := range w.page.Connections {
			if !found(&w.page.Connections[i]) {
				return nil
			}
		}
		if w.page.Next == "" {
			return nil
		}
		var err error
		if at, err = parseCursor(w.page.Next); err != nil {
			return err
		}
	}
}

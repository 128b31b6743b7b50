package tokenstore

import (
	"context"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// usedEvery is how much later than it is noted a connection may have been
	// used, and how often an athd notes it at most.
	usedEvery = 5 * time.Minute
	// usedSlots is how many connections an athd knows to be noted; who shares a
	// slot with another is noted more often.
	usedSlots = 1 << 16
	// usedBatch are noted at once, and usedPause apart, so that after a start not
	// all are at once.
	usedBatch = 64
	usedPause = 100 * time.Millisecond
)

// uses notes when connections were used, apart from the decisions that use them.
type uses struct {
	store   *Store
	seed    maphash.Seed
	noted   [usedSlots]atomic.Uint64 // 40 bits of the tag's hash, 24 of the minute
	waiting chan *Grant
	dropped atomic.Uint64
	stop    context.CancelFunc
	done    chan struct{}
}

func startUses(s *Store) *uses {
	ctx, stop := context.WithCancel(context.Background())
	u := &uses{store: s, seed: maphash.MakeSeed(), waiting: make(chan *Grant, 4*usedBatch), stop: stop, done: make(chan struct{})}
	go u.write(ctx)
	return u
}

func (u *uses) finish() {
	u.stop()
	<-u.done
}

// Used says that a call passed by a grant. It never waits, and allocates nothing:
// once in five minutes the connection is noted in the background, or, where too
// many wait for that, at a later call. The connection is also entered into the
// indexes by which operators find it, if an athd made it that did not.
func (s *Store) Used(g *Grant, now time.Time) {
	u := s.uses
	hash := maphash.String(u.seed, string(g.Connection))
	minute := uint64(now.Unix()/60) & (1<<24 - 1)
	slot := &u.noted[hash%usedSlots]
	last := slot.Load()
	if last>>24 == hash>>24 && minute-last&(1<<24-1) < uint64(usedEvery/time.Minute) {
		return
	}
	if !slot.CompareAndSwap(last, hash>>24<<24|minute) {
		return // somebody else's call notes one of the two
	}
	select {
	case u.waiting <- g:
	default:
		slot.CompareAndSwap(hash>>24<<24|minute, last)
		u.dropped.Add(1)
	}
}

// UsesDropped is how often a use was not noted, since too many waited.
func (s *Store) UsesDropped() uint64 { return s.uses.dropped.Load() }

func (u *uses) write(ctx context.Context) {
	defer close(u.done)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		var some []*Grant
		select {
		case <-ctx.Done():
			return
		case g := <-u.waiting:
			some = append(some, g)
		}
		for len(some) < usedBatch && len(u.waiting) > 0 {
			some = append(some, <-u.waiting)
		}
		if err := u.store.noteUsed(ctx, some); err != nil {
			u.store.log.DebugContext(ctx, "uses of connections not noted", "error", err)
		}
		pause.Reset(usedPause)
	}
}

// noteUsed is one round trip. The breaker is not asked, nor told: what is noted
// here is worth nothing to who waits for a decision.
func (s *Store) noteUsed(ctx context.Context, grants []*Grant) error {
	if foreign := s.foreign.Load(); foreign != nil {
		return foreign.verb()
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	start := time.Now()
	var fills []func(redis.Pipeliner)
	for _, g := range grants {
		fill, err := s.noteUse(ctx, g)
		if err != nil {
			return err
		}
		fills = append(fills, fill)
	}
	err := s.server.ask(ctx, func(batch redis.Pipeliner) {
		for _, fill := range fills {
			fill(batch)
		}
	})
	s.observe("note_used", time.Since(start), err)
	return err
}

func (s *Store) noteUse(ctx context.Context, g *Grant) (func(redis.Pipeliner), error) {
	connection, err := key(g.Connection, string(connectionKind))
	if err != nil {
		return nil, err
	}
	o := owner{Agent: g.connectionAgent(), User: g.User, Provider: g.Provider, Used: s.now().Unix()}
	ownerKey, sealed, err := s.sealOwner(g.Connection, o)
	if err != nil {
		return nil, err
	}
	note, err := s.note(g.Agent, g.User, g.Connection, g.Expires)
	if err != nil {
		return nil, err
	}
	return func(batch redis.Pipeliner) {
		note(ctx, batch)
		s.scripts.used.plain.Eval(ctx, batch, []string{connection, ownerKey}, sealed, s.ttl(g.Expires))
	}, nil
}

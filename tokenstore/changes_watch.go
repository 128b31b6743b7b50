package tokenstore

import (
	"context"
	"math"
	"sync"
	"time"
)

// maxQueued is how many changes a Watch holds for whoever does not take them.
const maxQueued = 1024

// A Watch hands the changes of the feed to one consumer, from [Store.Watch] on.
// Close it.
type Watch struct {
	feed *feed

	mu    sync.Mutex
	queue []queued
	taken time.Time     // before the change that [Watch.Next] returned last; zero: it is handled
	busy  bool          // there is one
	ready chan struct{} // holds one where the queue may not be empty
}

// A queued change was made after since.
type queued struct {
	Change
	since time.Time
}

// Watch begins to watch the change feed. It reports to every athd what any athd
// took away or changed, so that whoever remembers something of the store knows
// when it is no longer so.
//
// What is in it: every change and removal of an agent, every grant that is
// revoked, every connection that ends, also at its provider, and whatever happens to a run-time provider. Else not what comes into being or expires by
// itself: neither makes wrong what somebody remembers with its expiry.
//
// The contract:
//
//   - A change is in the feed's log when the verb that made it returns. Outside
//     of a cluster one script does both, so that neither is there without the
//     other. In a cluster, where the log is in a slot of its own, the verb's
//     script publishes the change and the log follows; it is written again until
//     it is, and a verb neither waits for it nor fails by it.
//   - Each change reaches each [Watch], at least once: at once where Redis
//     notifies, and within about a second in any case, since the log is compared
//     each second with what was seen of it. A message that was lost, a
//     connection that was cut and a server that may not notify lose nothing.
//   - Where the log cannot say what changed, a Watch gets [Everything]: at its
//     start; when more changed than the log, or the Watch, holds; when a failover
//     lost the end of the log; when the log is gone.
//   - Where it cannot be asked, [Watch.Age] grows, and is never less than the
//     truth: whoever may not be wrong for longer than some bound must read the
//     store itself, or refuse, once Age is beyond it.
//
// A change says what to read again, not what is there now. It may come twice,
// and before the verb that made it has returned. It holds no secret, and is not
// sealed: who can write to Redis can put changes in, which costs others a read,
// but cannot hide one that the log has without showing that the log was cut.
//
// A Watch costs Redis nothing, however many there are.
func (s *Store) Watch() *Watch {
	w := &Watch{feed: s.feed, ready: make(chan struct{}, 1)}
	w.put(queued{Change: Change{Kind: Everything}})
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	s.feed.watches[w] = struct{}{}
	return w
}

// Close ends it. A Next that waits goes on waiting for its context.
func (w *Watch) Close() {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	delete(w.feed.watches, w)
}

// Next returns the next change, and waits for it. To ask again says that the one
// before is handled. The error is that of ctx.
func (w *Watch) Next(ctx context.Context) (Change, error) {
	w.mu.Lock()
	w.busy = false
	w.mu.Unlock()
	for {
		if c, ok := w.take(); ok {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return Change{}, ctx.Err()
		case <-w.ready:
		}
	}
}

func (w *Watch) take() (Change, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return Change{}, false
	}
	next := w.queue[0]
	w.queue = w.queue[1:]
	w.taken, w.busy = next.since, true
	return next.Change, true
}

// put never waits. Where too much waits, it becomes one Everything.
func (w *Watch) put(c queued) {
	w.mu.Lock()
	if len(w.queue) >= maxQueued {
		c = queued{Change{Generation: c.Generation, Kind: Everything}, w.queue[0].since}
		w.queue = nil
	}
	w.queue = append(w.queue, c)
	w.mu.Unlock()
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// Age is how long ago it was that this consumer knew, and had handled, every
// change. It is about a second at most while all is well, grows while the
// feed cannot be read or changes are not taken, and is longer than any bound
// until the first one is handled.
func (w *Watch) Age() time.Duration {
	w.feed.mu.Lock()
	since := w.feed.state.Current
	w.feed.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	// What waits came in order, so that the oldest comes first.
	switch {
	case w.busy:
		since = earlier(since, w.taken)
	case len(w.queue) > 0:
		since = earlier(since, w.queue[0].since)
	}
	if since.IsZero() {
		return math.MaxInt64
	}
	return time.Since(since)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

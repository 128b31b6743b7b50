package tokenstore

import (
	"context"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// compareEvery is how soon a change is found of which no message came.
	compareEvery = time.Second
	// readChanges is how many are read at once.
	readChanges = 200
	// distrust is how often, in comparisons, everything is said to be changed in
	// a cluster that does not notify: there an athd that was killed between a
	// change and writing it to the log has told nobody. A minute.
	distrust = 60
)

// A feed follows the change feed for the watches of this process.
type feed struct {
	store   *Store
	channel string
	apart   bool // the log is in another slot than what changes: a cluster
	timeout time.Duration
	every   time.Duration // the log is compared
	log     *slog.Logger

	unwritten unwritten
	publishes atomic.Bool // the ACL is not known to forbid it

	heard chan string   // messages
	look  chan struct{} // holds one where the log is to be compared now
	gap   atomic.Bool   // messages may have been lost

	// Of the one that follows.
	at        position
	known     bool
	lastReset time.Time // when Everything was said last

	mu      sync.Mutex
	state   Feed
	started time.Time
	watches map[*Watch]struct{}

	stop             context.CancelFunc
	running, writing sync.WaitGroup
}

// A position is the last entry of the log that was seen. The zero one is that of
// an empty log.
type position struct {
	generation uint64
	entry      announcement
}

func newFeed(s *Store, every time.Duration) *feed {
	if every == 0 {
		every = compareEvery
	}
	return &feed{
		store: s, channel: "ath:changes:" + strconv.Itoa(s.address.db), apart: s.address.cluster,
		timeout: min(s.timeout, time.Second), every: every, log: s.log,
		unwritten: unwritten{wake: make(chan struct{}, 1)},
		heard:     make(chan string, 256), look: make(chan struct{}, 1),
		watches: map[*Watch]struct{}{}, started: time.Now(),
	}
}

func (f *feed) start() {
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.running.Go(func() { f.follow(ctx) })
	f.running.Go(func() { f.listen(ctx) })
	f.running.Go(func() { f.store.forgetChanged(ctx) })
	f.writing.Go(func() { f.writeUnwritten(ctx) })
}

// finish ends all but reads that wait for the server, and writes to the log what
// waits for it, if that is possible at once. [feed.running] ends with the
// server's connections.
func (f *feed) finish() {
	f.stop()
	f.writing.Wait()
}

// Feed says how the change feed does.
func (s *Store) Feed() Feed {
	f := s.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	state := f.state
	state.Unwritten = f.unwritten.len()
	return state
}

func (f *feed) follow(ctx context.Context) {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	f.compare(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case message := <-f.heard:
			f.hear(ctx, message)
		case <-f.look:
			f.compare(ctx)
		case <-tick.C:
			f.compare(ctx)
		}
	}
}

// hear takes a message: the generation of a change, and its announcement.
// Nothing is taken for granted of it. What is not the very next change has the
// log compared.
func (f *feed) hear(ctx context.Context, message string) {
	number, text, _ := strings.Cut(message, " ")
	generation, err := strconv.ParseUint(number, 10, 53)
	entry := announcement(text)
	c, bad := entry.change(generation)
	switch {
	case err != nil || bad != nil:
		f.compare(ctx)
	case generation == 0:
		f.hand(c)
	case f.known && generation == f.at.generation+1:
		f.at = position{generation, entry}
		f.hand(c)
	case f.known && generation <= f.at.generation: // found by comparing, before it was heard
	default:
		f.compare(ctx)
	}
}

// compare asks the log what came after what was seen.
func (f *feed) compare(ctx context.Context) {
	begun := time.Now()
	gap := f.gap.Swap(false)
	if err := f.catchUp(ctx); err != nil {
		if gap {
			f.gap.Store(true)
		}
		f.log.DebugContext(ctx, "change feed not compared", "error", err)
		return
	}
	f.mu.Lock()
	notified := f.state.Notified
	f.mu.Unlock()
	if f.apart && (gap || !notified && time.Since(f.lastReset) > distrust*f.every) {
		f.handEverything()
	}
	f.mu.Lock()
	f.state.Current = begun
	f.mu.Unlock()
}

func (f *feed) catchUp(ctx context.Context) error {
	for {
		if !f.known {
			return f.restart(ctx)
		}
		found, err := f.from(ctx, f.at.generation, readChanges)
		if err != nil {
			return err
		}
		next, ok := f.after(found)
		if !ok {
			return f.restart(ctx)
		}
		for _, c := range next {
			f.hand(c)
		}
		if len(found) < readChanges {
			f.beginLog(len(found) == 0)
			return nil
		}
	}
}

// after returns the changes after the position, and moves it to the last one.
// It is not ok unless what was read begins with what was seen last, nothing is
// missing, and all of it reads.
func (f *feed) after(found entries) (next []Change, ok bool) {
	at := f.at
	if at.generation > 0 {
		if len(found) == 0 || found[0].Score != float64(at.generation) || found[0].Member != string(at.entry) {
			return nil, false
		}
		found = found[1:]
	}
	for _, z := range found {
		text, _ := z.Member.(string)
		at = position{at.generation + 1, announcement(text)}
		c, err := at.entry.change(at.generation)
		if err != nil || z.Score != float64(at.generation) {
			return nil, false
		}
		next = append(next, c)
	}
	f.at = at
	return next, true
}

// restart begins at the end of the log. What was before is not known.
func (f *feed) restart(ctx context.Context) error {
	found, err := f.top(ctx)
	if err != nil {
		return err
	}
	f.at, f.known = position{}, true
	if len(found) > 0 {
		if !isGeneration(found[0].Score) {
			f.known = false
			f.beginLog(true)
			f.handEverything()
			return nil
		}
		text, _ := found[0].Member.(string)
		f.at = position{uint64(found[0].Score), announcement(text)}
	}
	f.beginLog(len(found) == 0)
	f.handEverything()
	return nil
}

// isGeneration reports whether a score is one that announce can have written.
func isGeneration(score float64) bool {
	return score >= 1 && score < 1<<53 && score == math.Trunc(score)
}

// beginLog has a first entry written to an empty log, so that it is noticed if
// it is emptied, and to one that somebody else wrote, which begins it again.
func (f *feed) beginLog(empty bool) {
	if empty && f.unwritten.len() == 0 && f.store.foreign.Load() == nil {
		f.unwritten.add(announce(Everything, "", ""))
	}
}

func (f *feed) handEverything() { f.hand(Change{Generation: f.at.generation, Kind: Everything}) }

// hand gives a change to each watch.
func (f *feed) hand(c Change) {
	if c.Kind == Everything {
		f.lastReset = time.Now()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.Generation = f.at.generation
	for w := range f.watches {
		w.put(queued{c, f.state.Current})
	}
}

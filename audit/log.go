package audit

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxWaiting bounds the bytes that wait to be written: some thousand
	// events.
	maxWaiting = 1 << 20
	// tellEvery is how often the log may say that events were dropped.
	tellEvery = time.Minute
)

// A Log records events. It is safe for concurrent use.
//
// All events are written in the order in which they were recorded: one that
// may not wait takes those before it along.
type Log struct {
	config Config

	mu      sync.Mutex
	waiting []byte // whole lines
	lines   int    // in waiting
	timed   bool   // a flush will come
	closed  bool

	writing sync.Mutex // taken before mu
	spare   []byte     // waiting's other buffer
	dropped int        // not told yet
	told    time.Time
}

// Config configures a [Log].
type Config struct {
	// Writer is where events go, one line each; required. Each Write is of
	// whole lines, and there is one at a time.
	Writer io.Writer
	// JSON writes lines as slog's JSONHandler does, else as its TextHandler.
	JSON bool
	// Late is how long the event of an allowed request may wait. 0: no event
	// waits.
	Late time.Duration

	Now     func() time.Time // nil: time.Now
	Count   func(Event)      // called for each event, for metrics; may be nil
	Dropped func(n int)      // called with the number of events that will never be written; may be nil
	Logger  *slog.Logger     // is told, once a minute at most, that events were dropped; may be nil
}

// New returns a Log.
func New(c Config) *Log {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Count == nil {
		c.Count = func(Event) {}
	}
	if c.Dropped == nil {
		c.Dropped = func(int) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Log{config: c}
}

// Record writes one event before it returns, or, if the event can wait, soon.
func (l *Log) Record(_ context.Context, e Event) {
	now := l.config.Now()
	if e.Time.IsZero() {
		e.Time = now
	}
	l.config.Count(e)
	if !l.wait(now, &e) {
		l.flush()
	}
}

// wait appends the event to those that wait and reports whether it may stay
// there for now.
func (l *Log) wait(now time.Time, e *Event) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	late := l.config.Late > 0 && !l.closed && e.Kind == ProxyRequest && e.Reason == ""
	if late && len(l.waiting) >= maxWaiting {
		l.lose(1)
		return true
	}
	if l.config.JSON {
		l.waiting = appendJSON(l.waiting, now, e)
	} else {
		l.waiting = appendText(l.waiting, now, e)
	}
	l.lines++
	if late && !l.timed {
		l.timed = true
		time.AfterFunc(l.config.Late, l.flush)
	}
	return late
}

// flush writes all that waits. When it returns, everything that was recorded
// before it was called has been written, if not by this call.
func (l *Log) flush() {
	l.write()
	l.tell()
}

func (l *Log) write() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	lines, n := l.waiting, l.lines
	l.waiting, l.lines, l.timed = l.spare[:0], 0, false
	l.mu.Unlock()
	if n == 0 {
		l.spare = lines
		return
	}
	if _, err := l.config.Writer.Write(lines); err != nil {
		l.mu.Lock()
		l.lose(n)
		l.mu.Unlock()
	}
	if l.spare = lines; cap(lines) > 2*maxWaiting {
		l.spare = nil
	}
}

// lose counts events that will not be written. mu is held.
func (l *Log) lose(n int) {
	l.dropped += n
	l.config.Dropped(n)
}

func (l *Log) tell() {
	l.mu.Lock()
	n := l.dropped
	if n == 0 || !l.closed && !l.told.IsZero() && time.Since(l.told) < tellEvery {
		l.mu.Unlock()
		return
	}
	l.dropped, l.told = 0, time.Now()
	l.mu.Unlock()
	l.config.Logger.Error("audit events were dropped: they could not be written, or not fast enough", "dropped", n)
}

// Close writes what waits. From then on no event waits.
func (l *Log) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.flush()
}

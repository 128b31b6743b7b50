package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of the bytes that wait to be written. Events of requests that were
// allowed leave space for those of refusals, and those leave space for those of
// revocations, of which there are few.
const (
	maxAllowed  = 1 << 20
	maxRefused  = 16 << 20
	maxRevoking = 20 << 20
)

const (
	// reportEvery is how often a problem with writing may be logged.
	reportEvery = time.Minute
	// endWithin is how long [Log.Close] waits for a writer.
	endWithin = 2 * time.Second
)

// ErrUnwritten is why something must not be acknowledged: it is not on record.
var ErrUnwritten = errors.New("audit: the event cannot be written")

// A Log records events. It is safe for concurrent use.
//
// What goes to one writer is written in the order in which it was recorded: an
// event that may not wait takes those before it along. A writer that fails or
// hangs delays nobody for longer than a quarter of a second, and nobody at all
// once that is known: events wait in memory then, and are tried each second.
type Log struct {
	config   Config
	events   *outlet
	requests *outlet // the same, or where events of allowed requests go

	closed   atomic.Bool
	floods   floods
	refusals refusals

	mu       sync.Mutex
	dropped  int // not reported yet
	broken   bool
	reported time.Time
}

// Config configures a [Log].
type Config struct {
	// Writer is where events go, one line each; required. Each Write is of
	// whole lines, and there is one at a time.
	Writer io.Writer
	// JSON writes lines as slog's JSONHandler does, else as its TextHandler.
	JSON bool
	// Requests is where the events of allowed requests go instead, in the form
	// that RequestsJSON says. nil: with the others.
	Requests     io.Writer
	RequestsJSON bool
	// Late is how long the event of an allowed request may wait. 0: no event
	// waits.
	Late time.Duration

	Now     func() time.Time // nil: time.Now
	Count   func(Event)      // called for each event, for metrics; may be nil
	Dropped func(n int)      // called with the number of events that will never be written; may be nil
	Logger  *slog.Logger     // gets a line when events cannot be written, once a minute at most; may be nil
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
	l := &Log{config: c}
	l.floods.later = l.reportFloods
	l.events = &outlet{w: c.Writer, form: form{c.JSON}, tried: l.report}
	l.requests = l.events
	if c.Requests != nil {
		l.requests = &outlet{w: c.Requests, form: form{c.RequestsJSON}, tried: l.report}
	}
	return l
}

// Record writes one event before it returns, or, if the event can wait or the
// writer cannot take it, soon. It is for requests, for refusals, and for what
// revokes rights: none of them may be stopped by a log.
func (l *Log) Record(_ context.Context, e Event) {
	now := l.config.Now()
	if e.Time.IsZero() {
		e.Time = now
	}
	l.config.Count(e)
	if !l.closed.Load() && l.floods.swallow(now, &e) {
		return
	}
	l.put(now, e)
}

// reportFloods writes how many refusals were only counted.
func (l *Log) reportFloods() {
	now := l.config.Now()
	for _, e := range l.floods.ended(now) {
		l.put(now, e)
	}
}

func (l *Log) put(now time.Time, e Event) {
	o, most, late := l.events, maxRefused, time.Duration(0)
	switch {
	case e.Kind == ProxyRequest && e.Reason == "":
		o, most = l.requests, maxAllowed
		if !l.closed.Load() {
			late = l.config.Late
		}
	case e.Kind.Revokes():
		most = maxRevoking
	}
	number := o.add(most, late, now, &e)
	switch {
	case number == 0:
		l.lose(1)
		l.report()
	case late == 0 && o.await(number, false) != nil:
		l.report()
	}
}

// Commit writes the event of something that grants rights, or of an operator's
// question, before it returns. Where that fails, the error is [ErrUnwritten],
// and what the event reports must not be done, or be undone. The event is
// taken back; if it cannot be, since the writer has it and hangs, it may still
// appear: the caller records the refusal under the same decision_id.
func (l *Log) Commit(e Event) error {
	if err := l.Ready(); err != nil {
		return err
	}
	now := l.config.Now()
	if e.Time.IsZero() {
		e.Time = now
	}
	number := l.events.add(maxRefused, 0, now, &e)
	if number == 0 {
		return fmt.Errorf("%w: too many wait", ErrUnwritten)
	}
	if err := l.events.await(number, true); err != nil && l.events.withdraw(number) {
		l.report()
		return fmt.Errorf("%w: %w", ErrUnwritten, err)
	}
	l.config.Count(e)
	return nil
}

// Ready returns nil if events can be written, as far as is known: what could
// not be written before is tried first. Otherwise the error is [ErrUnwritten].
func (l *Log) Ready() error {
	if err := l.events.settle(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnwritten, err)
	}
	return nil
}

// Unwritten is how many events wait because they could not be written, and why
// those other than of allowed requests cannot: nil if they can.
func (l *Log) Unwritten() (n int, err error) {
	n, err = l.events.trouble()
	if l.requests != l.events {
		more, _ := l.requests.trouble()
		n += more
	}
	return n, err
}

// lose counts events that will not be written.
func (l *Log) lose(n int) {
	l.mu.Lock()
	l.dropped += n
	l.mu.Unlock()
	l.config.Dropped(n)
}

// report writes to the log of the process what is wrong with this one.
func (l *Log) report() {
	waiting, err := l.Unwritten()
	broken := err != nil || waiting > 0
	l.mu.Lock()
	dropped, was := l.dropped, l.broken
	recent := !l.closed.Load() && !l.reported.IsZero() && time.Since(l.reported) < reportEvery
	wrong := broken || dropped > 0
	if !wrong && !was || wrong && recent {
		l.mu.Unlock()
		return
	}
	l.dropped, l.broken = 0, broken
	if wrong {
		l.reported = time.Now()
	}
	l.mu.Unlock()
	if broken {
		l.config.Logger.Error("audit log unavailable", "error", err, "waiting", waiting,
			"hint", "events are tried again, and nothing is granted until they are on record")
	}
	if dropped > 0 {
		l.config.Logger.Error("audit events dropped", "dropped", dropped, "hint", "they could not be written, or not fast enough")
	}
	if was && !broken {
		l.config.Logger.Info("audit log available")
	}
}

// Close writes what waits, for as long as a process that ends can wait. From
// then on no event waits.
func (l *Log) Close() {
	l.closed.Store(true)
	l.reportFloods()
	lost := l.events.end(endWithin)
	if l.requests != l.events {
		lost += l.requests.end(endWithin)
	}
	if lost > 0 {
		l.lose(lost)
	}
	l.report()
}

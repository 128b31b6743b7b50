package revocation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// A Store is where the queue is. [tokenstore.Store] is the one that serves.
type Store interface {
	DueRevocations(context.Context, int) ([]tokenstore.RevocationEntry, error)
	RevocationQueued() <-chan struct{}
	RevocationQueue(context.Context) (tokenstore.RevocationQueue, error)
	Revocation(context.Context, ath.Tag) (tokenstore.Held[tokenstore.Revocation], error)
	TakeRevocation(context.Context, tokenstore.Held[tokenstore.Revocation]) (tokenstore.Held[tokenstore.Revocation], error)
	ReturnRevocation(context.Context, tokenstore.Held[tokenstore.Revocation], time.Time) error
	EndRevocation(context.Context, tokenstore.Held[tokenstore.Revocation]) error
	DropRevocation(context.Context, ath.Tag) error
	PostponeRevocation(context.Context, ath.Tag, time.Time) error
	WaitRevocation(context.Context, tokenstore.Held[tokenstore.Revocation], time.Time) error
	WakeRevocations(context.Context, string) error
	OfUser(context.Context, string, func(*tokenstore.ConnectionInfo) bool) error
}

// A Revoker calls the provider. [provider.Client] is the one that serves.
type Revoker interface {
	RevokeTokens(ctx context.Context, p *provider.Provider, refresh, access ath.Secret, each bool) (provider.Revoked, error)
}

// Config configures a [Worker].
type Config struct {
	Policy *Policy
	Store  Store
	OAuth  Revoker
	Audit  *audit.Log
	Now    func() time.Time // nil: time.Now
}

const (
	poll     = 5 * time.Second // for what other athd have queued
	batch    = 64
	maxCalls = 8                // at a time
	callTime = 20 * time.Second // less than a taken revocation is left alone

	firstPause = time.Minute
	mostPause  = time.Hour
	giveUp     = 24 * time.Hour
	lookAgain  = time.Hour // at what waits
)

// A Worker takes from the queue what is due. It is safe for concurrent use.
type Worker struct {
	Config
	*Policy

	ctx     context.Context // of all work; ends when Close does not wait any longer
	cancel  context.CancelFunc
	stop    chan struct{}
	stopped sync.Once
	running sync.WaitGroup
	slots   chan struct{}

	mu    sync.Mutex
	shut  map[string]pause // by provider id
	queue tokenstore.RevocationQueue
}

// A pause is for how long a provider is left alone that gave no answer.
type pause struct {
	until    time.Time
	failures int // in a row
}

// New returns a Worker, which [Worker.Start] has work until [Worker.Close].
func New(c Config) (*Worker, error) {
	for name, missing := range map[string]bool{"Policy": c.Policy == nil, "Store": c.Store == nil, "OAuth": c.OAuth == nil, "Audit": c.Audit == nil} {
		if missing {
			return nil, fmt.Errorf("revocation: %s is required", name)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Policy.trail.Store(c.Audit)
	w := &Worker{Config: c, Policy: c.Policy, stop: make(chan struct{}), slots: make(chan struct{}, maxCalls), shut: map[string]pause{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w, nil
}

// Start begins to work, and returns at once. It is called once at most.
func (w *Worker) Start() { w.running.Go(w.run) }

// Close takes no more work, and waits until calls that are under way have ended, or
// ctx does. What was not done is in the queue.
func (w *Worker) Close(ctx context.Context) {
	w.stopped.Do(func() { close(w.stop) })
	ended := make(chan struct{})
	go func() {
		w.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	w.cancel()
	<-ended
}

// Queue is how long the queue was when it was looked at last, and for how long the
// first entry has been due.
func (w *Worker) Queue() (length int, overdue time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.queue.Next.IsZero() {
		overdue = max(0, w.Now().Sub(w.queue.Next))
	}
	return w.queue.Length, overdue
}

func (w *Worker) run() {
	for {
		more := w.round()
		if more {
			select {
			case <-w.stop:
				return
			default:
				continue
			}
		}
		timer := time.NewTimer(poll - rand.N(poll/4))
		select {
		case <-w.stop:
			timer.Stop()
			return
		case <-w.Store.RevocationQueued():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// round looks at what is due, and reports whether there may be more.
func (w *Worker) round() (more bool) {
	entries, err := w.Store.DueRevocations(w.ctx, batch)
	if err != nil {
		return false // the store's own breaker says so
	}
	var all sync.WaitGroup
	var failed atomic.Int64
	for _, e := range entries {
		select {
		case <-w.stop:
			all.Wait()
			return false
		case w.slots <- struct{}{}:
		}
		all.Go(func() {
			defer func() { <-w.slots }()
			if err := w.look(e); err != nil {
				failed.Add(1)
				w.Logger.Debug("revocation not looked at", "error", err)
			}
		})
	}
	all.Wait()
	if queue, err := w.Store.RevocationQueue(w.ctx); err == nil {
		w.mu.Lock()
		w.queue = queue
		w.mu.Unlock()
	}
	// What failed is due still: without any progress the next round is not at once.
	return len(entries) == batch && failed.Load() < batch
}

// look does what is to be done about one entry. One that makes athd panic is left
// alone for an hour, and does not end the process, nor that of the next replica.
func (w *Worker) look(e tokenstore.RevocationEntry) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.Logger.Error("revocation panicked", "panic", fmt.Sprintf("%T", p))
			err = w.Store.PostponeRevocation(w.ctx, e.Tag, w.Now().Add(lookAgain))
		}
	}()
	return w.one(e)
}

// paused reports until when a provider is left alone.
func (w *Worker) paused(id string) (until time.Time, is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.shut[id]
	return p.until, w.Now().Before(p.until)
}

func (w *Worker) answered(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.shut, id)
}

func (w *Worker) silent(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.shut[id]
	if p.failures++; p.failures >= 3 {
		p.until = w.Now().Add(firstPause)
	}
	w.shut[id] = p
}

// growing doubles the pause with each try, and shortens it by up to a quarter, so
// that not all come at once.
func growing(tries int) time.Duration {
	d := firstPause
	for ; tries > 1 && d < mostPause; tries-- {
		d *= 2
	}
	d = min(d, mostPause)
	return d - rand.N(d/4+1)
}

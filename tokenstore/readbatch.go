package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Request coalescing: reads that are asked for at the same time go to the
// server together, because under load a round trip costs both sides more than
// the reads that it carries. A read that comes alone waits for nobody.
const (
	maxInFlight = 2  // batches that were sent and not answered yet
	maxBatch    = 64 // reads in a batch

	// Envoy asks in bursts, of which the first read comes here before the last
	// one is parsed. While there is load (the batch before carried several
	// reads) a batch is held open until none has joined it for so long.
	joinWindow = 10 * time.Microsecond
)

// A readBatcher coalesces reads for decisions into batches.
type readBatcher struct {
	server   *server
	slots    bool // a command's keys must share one
	timeout  time.Duration
	inFlight chan struct{} // a semaphore: holds one for each batch in flight
	busy     atomic.Bool   // the batch before carried more than one read

	mu   sync.Mutex
	open *batch // that may be joined; nil: none
}

// A batch is the reads of one round trip. Who joins it first leads it: sends
// it, for all, while the others wait.
type batch struct {
	begun time.Time
	first [3]string     // where keys begin: most batches are of one read
	keys  []string      // of grant, connection and agent for each read; guarded by readBatcher.mu until it is sent
	done  chan struct{} // nil until a second one has joined; guarded by readBatcher.mu until then

	// Set when done is closed.
	values []any   // one for each key; no string: there is no such record
	err    error   // of all
	errs   []error // of each; nil: none
}

// A sharedError is the error of a batch, for those of its reads that are not
// the first: one round trip failed, and that counts once.
type sharedError struct{ error }

func (e sharedError) Unwrap() error { return e.error }

var errNotSent = errors.New("not sent")

func newReadBatcher(server *server, slots bool, timeout time.Duration) *readBatcher {
	return &readBatcher{server: server, slots: slots, timeout: timeout, inFlight: make(chan struct{}, maxInFlight)}
}

// fetch reads grant, connection and agent for one decision. The keys of the
// first two share a slot. A value that is no string: there is no such record.
// It returns when the timeout is over, whatever ctx says: whoever leads a batch
// sends it for others too. Waiting for inFlight takes no longer, since the
// batches that hold it began before.
func (r *readBatcher) fetch(ctx context.Context, keys [3]string) ([3]any, error) {
	b, place := r.join(keys)
	if place == 0 {
		r.lead(b)
	} else {
		select {
		case <-b.done:
		case <-ctx.Done():
			return [3]any{}, ctx.Err()
		}
	}
	return b.answer(place)
}

func (r *readBatcher) join(keys [3]string) (b *batch, place int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		b = &batch{begun: time.Now(), first: keys}
		b.keys = b.first[:]
		r.open = b
		return b, 0
	}
	b = r.open
	place = len(b.keys) / 3
	if b.done == nil {
		b.done = make(chan struct{})
		b.keys = append(make([]string, 0, 3*8), b.keys...)
	}
	b.keys = append(b.keys, keys[:]...)
	if place+1 == maxBatch {
		r.open = nil
	}
	return b, place
}

// lead sends the batch as soon as fewer than maxInFlight are in flight.
func (r *readBatcher) lead(b *batch) {
	b.err = errNotSent
	defer r.finish(b)
	defer func() {
		if p := recover(); p != nil {
			b.err = fmt.Errorf("the client panicked: %T", p)
		}
	}()
	r.inFlight <- struct{}{}
	defer func() { <-r.inFlight }()
	r.waitForJoins(b)
	r.seal(b)
	r.busy.Store(r.joined(b) > 1)
	ctx, cancel := context.WithDeadline(context.Background(), b.begun.Add(r.timeout))
	defer cancel()
	switch err := ctx.Err(); {
	case err != nil: // the wait for inFlight took as long
		b.err = err
	case r.slots:
		b.err = r.sendEach(ctx, b)
	default:
		b.err = r.sendTogether(ctx, b)
	}
}

// waitForJoins holds the batch open for others to join.
func (r *readBatcher) waitForJoins(b *batch) {
	if !r.busy.Load() {
		return
	}
	joined := r.joined(b)
	for since := time.Now(); time.Since(since) < joinWindow && joined < maxBatch; {
		// A busy wait: a timer takes longer than joinWindow, and costs more than
		// a batch.
		runtime.Gosched()
		if n := r.joined(b); n > joined {
			joined, since = n, time.Now()
		}
	}
}

func (r *readBatcher) joined(b *batch) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(b.keys) / 3
}

// seal closes the batch to others. From then on only its leader uses it.
func (r *readBatcher) seal(b *batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == b {
		r.open = nil
	}
}

// finish wakes those who joined: there is an answer.
func (r *readBatcher) finish(b *batch) {
	r.seal(b)
	if b.done != nil {
		close(b.done)
	}
}

func (b *batch) answer(place int) (values [3]any, err error) {
	err = b.err
	if err == nil && b.errs != nil {
		err = b.errs[place]
	}
	if err != nil {
		if place > 0 {
			err = sharedError{err}
		}
		return values, err
	}
	return [3]any(b.values[3*place:]), nil
}

// sendTogether reads all keys with one MGET.
func (r *readBatcher) sendTogether(ctx context.Context, b *batch) (err error) {
	// Pointers, since a string would be copied to stand among the arguments.
	args := make([]any, 1+len(b.keys))
	args[0] = "mget"
	for i := range b.keys {
		args[1+i] = &b.keys[i]
	}
	var got *redis.SliceCmd
	err = r.server.ask(ctx, func(batch redis.Pipeliner) {
		got = redis.NewSliceCmd(ctx, args...)
		_ = batch.Process(ctx, got) // the command has the error
	})
	if err != nil {
		return err
	}
	b.values, err = got.Result()
	if err == nil && len(b.values) != len(b.keys) {
		err = fmt.Errorf("MGET of %d keys answered with %d values", len(b.keys), len(b.values))
	}
	return err
}

// sendEach reads each slot's keys with a command of their own.
func (r *readBatcher) sendEach(ctx context.Context, b *batch) error {
	n := len(b.keys) / 3
	b.values, b.errs = make([]any, len(b.keys)), make([]error, n)
	pairs, agents := make([]*redis.SliceCmd, n), make([]*redis.StringCmd, n)
	err := r.server.ask(ctx, func(batch redis.Pipeliner) {
		for i := range n {
			pairs[i] = batch.MGet(ctx, b.keys[3*i], b.keys[3*i+1])
			agents[i] = batch.Get(ctx, b.keys[3*i+2])
		}
	})
	if err != nil {
		return err
	}
	for i := range n {
		switch values, err := pairs[i].Result(); {
		case err != nil:
			b.errs[i] = err
		case len(values) != 2:
			b.errs[i] = fmt.Errorf("MGET of 2 keys answered with %d values", len(values))
		default:
			copy(b.values[3*i:], values)
		}
		switch agent, err := agents[i].Result(); {
		case err == nil:
			b.values[3*i+2] = agent
		case !errors.Is(err, redis.Nil):
			b.errs[i] = errors.Join(b.errs[i], err)
		}
	}
	return nil
}

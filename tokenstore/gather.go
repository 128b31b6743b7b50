package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Reads that are asked for at the same time go to the server together: under
// load a round trip costs both sides more than the reads that it carries. A
// read that is alone waits for nobody.
const (
	gatherers = 2  // batches under way at once
	maxGather = 64 // reads in a batch
)

// A fetch is one read for a decision: the keys of grant and connection share a
// slot.
type fetch struct {
	keys [3]string // of grant, connection and agent

	// Set when done is closed. A value that is no string is not there.
	values [3]any
	err    error
	done   chan struct{}
}

// A gatherer sends fetches.
type gatherer struct {
	client  redis.UniversalClient
	slots   bool // a command's keys must share one
	timeout time.Duration
	queue   chan *fetch
	closed  chan struct{}
	close   func()
}

// A sharedError is the error of a batch, for those of its reads that are not
// the first: one round trip failed, and that counts once.
type sharedError struct{ error }

func (e sharedError) Unwrap() error { return e.error }

func newGatherer(client redis.UniversalClient, slots bool, timeout time.Duration) *gatherer {
	g := &gatherer{client: client, slots: slots, timeout: timeout, queue: make(chan *fetch, maxGather), closed: make(chan struct{})}
	var working sync.WaitGroup
	for range gatherers {
		working.Go(g.work)
	}
	g.close = sync.OnceFunc(func() {
		close(g.closed)
		working.Wait()
	})
	return g
}

// fetch returns when f is done, or ctx is.
func (g *gatherer) fetch(ctx context.Context, f *fetch) error {
	f.done = make(chan struct{})
	select {
	case g.queue <- f:
	case <-ctx.Done():
		return ctx.Err()
	case <-g.closed:
		return redis.ErrClosed
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	case <-g.closed:
		return redis.ErrClosed
	}
}

func (g *gatherer) work() {
	batch := make([]*fetch, 0, maxGather)
	for {
		select {
		case first := <-g.queue:
			batch = append(batch[:0], first)
		case <-g.closed:
			return
		}
		for more := true; more && len(batch) < maxGather; {
			select {
			case f := <-g.queue:
				batch = append(batch, f)
			default:
				more = false
			}
		}
		g.send(batch)
	}
}

// send sends a batch. Its callers may leave; it has a deadline of its own.
func (g *gatherer) send(batch []*fetch) {
	err := errors.New("not sent")
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the client panicked: %T", p)
		}
		for i, f := range batch {
			if f.err = errors.Join(f.err, err); f.err != nil && i > 0 {
				f.err = sharedError{f.err}
			}
			close(f.done)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), g.timeout)
	defer cancel()
	if g.slots {
		g.sendEach(ctx, batch)
		err = nil
		return
	}
	err = g.sendTogether(ctx, batch)
}

// sendTogether asks for all keys by one command.
func (g *gatherer) sendTogether(ctx context.Context, batch []*fetch) error {
	keys := make([]string, 0, 3*len(batch))
	for _, f := range batch {
		keys = append(keys, f.keys[:]...)
	}
	values, err := g.client.MGet(ctx, keys...).Result()
	if err != nil {
		return err
	}
	if len(values) != len(keys) {
		return fmt.Errorf("MGET of %d keys answered with %d values", len(keys), len(values))
	}
	for i, f := range batch {
		f.values = [3]any(values[3*i:])
	}
	return nil
}

// sendEach asks for each slot's keys by a command of their own.
func (g *gatherer) sendEach(ctx context.Context, batch []*fetch) {
	pipeline := g.client.Pipeline()
	pairs, agents := make([]*redis.SliceCmd, len(batch)), make([]*redis.StringCmd, len(batch))
	for i, f := range batch {
		pairs[i] = pipeline.MGet(ctx, f.keys[0], f.keys[1])
		agents[i] = pipeline.Get(ctx, f.keys[2])
	}
	// Exec returns the first command's error, which may be that there is no
	// such agent: each command is asked instead.
	_, _ = pipeline.Exec(ctx)
	for i, f := range batch {
		switch values, err := pairs[i].Result(); {
		case err != nil:
			f.err = err
		case len(values) != 2:
			f.err = fmt.Errorf("MGET of 2 keys answered with %d values", len(values))
		default:
			f.values[0], f.values[1] = values[0], values[1]
		}
		switch agent, err := agents[i].Result(); {
		case err == nil:
			f.values[2] = agent
		case !errors.Is(err, redis.Nil):
			f.err = errors.Join(f.err, err)
		}
	}
}

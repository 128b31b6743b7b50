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

// A fetch is one read for a decision: the pair's keys share a slot.
type fetch struct {
	grant, connection, agent string

	// Set when done is closed.
	pair    *redis.SliceCmd
	ofAgent *redis.StringCmd
	err     error
	done    chan struct{}
}

// A gatherer sends fetches.
type gatherer struct {
	client  redis.UniversalClient
	timeout time.Duration
	queue   chan *fetch
	closed  chan struct{}
	close   func()
}

func newGatherer(client redis.UniversalClient, timeout time.Duration) *gatherer {
	g := &gatherer{client: client, timeout: timeout, queue: make(chan *fetch, maxGather), closed: make(chan struct{})}
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
	defer func() {
		p := recover()
		for _, f := range batch {
			if p != nil {
				f.err = fmt.Errorf("the client panicked: %T", p)
			}
			close(f.done)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), g.timeout)
	defer cancel()
	pipeline := g.client.Pipeline()
	for _, f := range batch {
		f.err = errors.New("not sent")
		f.pair = pipeline.MGet(ctx, f.grant, f.connection)
		f.ofAgent = pipeline.Get(ctx, f.agent)
	}
	// Exec returns the first command's error, which may be that there is no
	// such agent: each command is asked instead.
	_, _ = pipeline.Exec(ctx)
	for _, f := range batch {
		f.err = nil
	}
}

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

// Reads that are asked for at the same time go to the server together: under
// load a round trip costs both sides more than the reads that it carries. A
// read that comes alone waits for nobody.
const (
	maxUnderWay = 2  // batches under way at once
	maxGather   = 64 // reads in a batch

	// Envoy asks in bursts, of which the first read comes here before the last
	// one is parsed. Where the batch before was of several, one waits until
	// nobody has joined it for so long.
	patience = 10 * time.Microsecond
)

// A gatherer sends reads for decisions.
type gatherer struct {
	server  *server
	slots   bool // a command's keys must share one
	timeout time.Duration
	turns   chan struct{} // holds one for each batch that is under way
	crowded atomic.Bool   // the batch before carried more than one read

	mu   sync.Mutex
	open *batch // that may be joined; nil: none
}

// A batch is the reads of one round trip. Who joins it first leads it: sends
// it, for all, while the others wait.
type batch struct {
	begun time.Time
	first [3]string     // where keys begin: most batches are of one read
	keys  []string      // of grant, connection and agent for each read; under the gatherer's mu until it is sent
	done  chan struct{} // nil until a second one has joined; under the gatherer's mu until then

	// Set when done is closed.
	values []any   // one for each key. One that is no string is not there
	err    error   // of all
	errs   []error // of each; nil: none
}

// A sharedError is the error of a batch, for those of its reads that are not
// the first: one round trip failed, and that counts once.
type sharedError struct{ error }

func (e sharedError) Unwrap() error { return e.error }

var errNotSent = errors.New("not sent")

func newGatherer(server *server, slots bool, timeout time.Duration) *gatherer {
	return &gatherer{server: server, slots: slots, timeout: timeout, turns: make(chan struct{}, maxUnderWay)}
}

// fetch reads grant, connection and agent for one decision. The keys of the
// first two share a slot. A value that is no string is not there. It returns
// when the timeout is over, whatever ctx says: whoever leads a batch sends it
// for others too. To wait for a turn takes no longer, since the batches that
// have one began before.
func (g *gatherer) fetch(ctx context.Context, keys [3]string) ([3]any, error) {
	b, place := g.join(keys)
	if place == 0 {
		g.lead(b)
	} else {
		select {
		case <-b.done:
		case <-ctx.Done():
			return [3]any{}, ctx.Err()
		}
	}
	return b.answer(place)
}

func (g *gatherer) join(keys [3]string) (b *batch, place int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		b = &batch{begun: time.Now(), first: keys}
		b.keys = b.first[:]
		g.open = b
		return b, 0
	}
	b = g.open
	place = len(b.keys) / 3
	if b.done == nil {
		b.done = make(chan struct{})
		b.keys = append(make([]string, 0, 3*8), b.keys...)
	}
	b.keys = append(b.keys, keys[:]...)
	if place+1 == maxGather {
		g.open = nil
	}
	return b, place
}

// lead sends the batch as soon as there is a turn.
func (g *gatherer) lead(b *batch) {
	b.err = errNotSent
	defer g.finish(b)
	defer func() {
		if p := recover(); p != nil {
			b.err = fmt.Errorf("the client panicked: %T", p)
		}
	}()
	g.turns <- struct{}{}
	defer func() { <-g.turns }()
	g.await(b)
	g.shut(b)
	g.crowded.Store(g.joined(b) > 1)
	ctx, cancel := context.WithDeadline(context.Background(), b.begun.Add(g.timeout))
	defer cancel()
	switch err := ctx.Err(); {
	case err != nil: // it took as long to get a turn
		b.err = err
	case g.slots:
		b.err = g.sendEach(ctx, b)
	default:
		b.err = g.sendTogether(ctx, b)
	}
}

// await lets others join the batch.
func (g *gatherer) await(b *batch) {
	if !g.crowded.Load() {
		return
	}
	joined := g.joined(b)
	for since := time.Now(); time.Since(since) < patience && joined < maxGather; {
		runtime.Gosched() // no timer: one takes longer, and costs more than a batch
		if n := g.joined(b); n > joined {
			joined, since = n, time.Now()
		}
	}
}

func (g *gatherer) joined(b *batch) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(b.keys) / 3
}

// shut ends the joining. From then on the batch is its leader's.
func (g *gatherer) shut(b *batch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == b {
		g.open = nil
	}
}

// finish tells those who joined that there is an answer.
func (g *gatherer) finish(b *batch) {
	g.shut(b)
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

// sendTogether asks for all keys by one command.
func (g *gatherer) sendTogether(ctx context.Context, b *batch) (err error) {
	// Pointers, since a string would be copied to stand among the arguments.
	args := make([]any, 1+len(b.keys))
	args[0] = "mget"
	for i := range b.keys {
		args[1+i] = &b.keys[i]
	}
	var got *redis.SliceCmd
	err = g.server.ask(ctx, func(batch redis.Pipeliner) {
		got = redis.NewSliceCmd(ctx, args...)
		batch.Process(ctx, got)
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

// sendEach asks for each slot's keys by a command of their own.
func (g *gatherer) sendEach(ctx context.Context, b *batch) error {
	n := len(b.keys) / 3
	b.values, b.errs = make([]any, len(b.keys)), make([]error, n)
	pairs, agents := make([]*redis.SliceCmd, n), make([]*redis.StringCmd, n)
	err := g.server.ask(ctx, func(batch redis.Pipeliner) {
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

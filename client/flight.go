package client

import (
	"context"
	"sync"
)

// A flight is something that many callers want done, and that is done once: who
// comes meanwhile waits, and gets what came of it.
type flight struct {
	mu  sync.Mutex
	now *turn // nil: nobody is at it
}

type turn struct {
	done  chan struct{}
	err   error
	isOwn bool // the one who did it gave up, or panicked: err is not about what was done
}

// do runs fn, or waits for who does. Where that one gives up for a reason of its
// own, the next one tries. A server that is late is none: nobody would wait for it
// once for each that waits.
func (f *flight) do(ctx context.Context, fn func(context.Context) error) error {
	for {
		f.mu.Lock()
		running := f.now
		if running == nil {
			mine := &turn{done: make(chan struct{})}
			f.now = mine
			f.mu.Unlock()
			f.run(ctx, mine, fn)
			return mine.err
		}
		f.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-running.done:
		}
		if running.err == nil || !running.isOwn {
			return running.err
		}
	}
}

// run ends the turn also where fn panics: nobody waits for ever.
func (f *flight) run(ctx context.Context, t *turn, fn func(context.Context) error) {
	t.err, t.isOwn = context.Canceled, true
	defer func() {
		f.mu.Lock()
		f.now = nil
		f.mu.Unlock()
		close(t.done)
	}()
	t.err = fn(ctx)
	t.isOwn = ctx.Err() != nil
}

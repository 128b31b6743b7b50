package catalog

import (
	"context"
	"sync"
	"time"

	"github.com/athd/athd/tokenstore"
)

// retry is how soon what could not be read is read again, and again each look at
// those that this athd could not understand.
const (
	retry     = time.Second
	lookAgain = time.Minute
)

// Run follows the store until ctx ends.
func (k *Catalog) Run(ctx context.Context) {
	var draining sync.WaitGroup
	defer draining.Wait()
	draining.Go(func() { k.drain(ctx) })
	watch := k.Store.Watch()
	defer watch.Close()
	for {
		next, stop := context.WithTimeout(ctx, lookAgain)
		c, err := watch.Next(next)
		stop()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			k.again(ctx, func() error { return k.readUnreadable(ctx) })
		case c.Kind == tokenstore.Everything:
			k.again(ctx, func() error { return k.Load(ctx) })
		case c.Kind == tokenstore.ProviderChanged:
			k.again(ctx, func() error { return k.read(ctx, c.Tag) })
		}
	}
}

// again does something until it succeeds.
func (k *Catalog) again(ctx context.Context, do func() error) {
	for {
		err := do()
		if err == nil || ctx.Err() != nil {
			return
		}
		k.Logger.DebugContext(ctx, "run-time providers not read", "reason", tokenstore.Reason(err), "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
}

func (k *Catalog) readUnreadable(ctx context.Context) error {
	k.mu.Lock()
	unreadable := false
	for _, e := range k.entries {
		unreadable = unreadable || e.Err != nil
	}
	k.mu.Unlock()
	if !unreadable {
		return nil
	}
	return k.Load(ctx)
}

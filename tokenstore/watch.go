package tokenstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// watchEvery is how soon an idle athd notices that its address leads elsewhere.
const watchEvery = time.Second

// watch dials the address each second, beside the pool, which may hold
// connections to where it led before: to a server that was given up and does
// not know it. What the pool asks proves itself; this is for what it cannot
// know, and for readiness.
func (v *server) watch(client redis.UniversalClient, timeout time.Duration) {
	done := make(chan struct{})
	v.stop = sync.OnceFunc(func() { close(done) })
	v.watching.Go(func() {
		defer client.Close()
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				ctx, cancel := context.WithTimeout(context.Background(), timeout)
				// The connection is new each time; [server.glance] does the rest.
				err := exec(ctx, pinging(ctx, client))
				cancel()
				found, _ := errors.AsType[*notMasterError](err)
				v.strayed.Store(found)
			}
		}
	})
}

func pinging(ctx context.Context, client redis.UniversalClient) redis.Pipeliner {
	batch := client.Pipeline()
	batch.Ping(ctx)
	return batch
}

// glance is meet for the connections of watch.
func (v *server) glance(ctx context.Context, conn *redis.Conn) error {
	runID, err := v.introduce(ctx, conn)
	if err != nil || runID == "" {
		return err
	}
	at := v.current.Load()
	if known := at.runID.Load(); known != nil && *known != runID {
		go v.leaveOld(at)
	}
	return nil
}

// astray is nil unless a connection that was made a moment ago led to a server
// that is no master.
func (v *server) astray() error {
	if found := v.strayed.Load(); found != nil {
		return found
	}
	return nil
}

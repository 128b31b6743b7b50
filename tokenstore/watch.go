package tokenstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// watchEvery is how soon an idle athd notices that its address leads to another
// server.
const watchEvery = time.Second

// watch dials the address each second, beside the pool, whose connections may
// lead to where the address led before: to a former master that does not know
// that it was replaced. Each batch proves that a master answered; this catches
// what that proof cannot, and serves readiness.
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
				// The connection is new each time; [server.checkMoved] does the rest.
				err := exec(ctx, pinging(ctx, client))
				cancel()
				found, _ := errors.AsType[*notMasterError](err)
				v.notMaster.Store(found)
			}
		}
	})
}

func pinging(ctx context.Context, client redis.UniversalClient) redis.Pipeliner {
	batch := client.Pipeline()
	batch.Ping(ctx)
	return batch
}

// checkMoved is meet for the connections of watch.
func (v *server) checkMoved(ctx context.Context, conn *redis.Conn) error {
	runID, err := v.identify(ctx, conn)
	if err != nil || runID == "" {
		return err
	}
	at := v.current.Load()
	if known := at.runID.Load(); known != nil && *known != runID {
		go v.leaveOld(at)
	}
	return nil
}

// misdirected is nil unless the last connection of watch led to a server that is
// no master.
func (v *server) misdirected() error {
	if found := v.notMaster.Load(); found != nil {
		return found
	}
	return nil
}

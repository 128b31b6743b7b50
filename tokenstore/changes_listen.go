package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Changes are notified by plain Pub/Sub, in a cluster too. Of the sharded kind
// a script could publish on its own shard only, and what changes is in all
// slots; it would take two more rights (SSUBSCRIBE, SPUBLISH), and end with each
// move of the channel's slot. What plain Pub/Sub costs more, a message of some
// hundred bytes to each node of the cluster, is little: only revocations and
// changes of agents are published.
//
// Its channels are the same for all databases of a server, so that the number of
// ours is part of the name.

const (
	// forbiddenFor is how long, in comparisons, athd that may not subscribe waits
	// before it sees whether it may now. A minute.
	forbiddenFor = 60
	// silentFor is how long a subscription may be silent, asked or not.
	silentFor = 3 * time.Second
	// maxMessage is that of a generation and an announcement, in bytes.
	maxMessage = 20 + 1 + maxAnnouncement
)

// listen subscribes, and again whenever the subscription ends, until ctx does.
func (f *feed) listen(ctx context.Context) {
	const least, most = 50 * time.Millisecond, time.Second
	pause := least
	for ctx.Err() == nil {
		subscribed, err := f.listenOnce(ctx)
		if subscribed {
			pause = least
		}
		wait := pause
		if isForbidden(err) {
			f.forbid(err)
			wait = forbiddenFor * f.every
		}
		pause = min(2*pause, most)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// listenOnce returns why the subscription ended, and whether there was one.
func (f *feed) listenOnce(ctx context.Context) (subscribed bool, err error) {
	if err := f.mayPublish(ctx); err != nil {
		return false, err
	}
	link := f.store.server.current.Load()
	sub := link.client.Subscribe(ctx, f.channel)
	defer sub.Close()
	defer context.AfterFunc(ctx, func() { sub.Close() })() // a read that waits ends by it
	// The first reply is that to SUBSCRIBE.
	if _, err := sub.ReceiveTimeout(ctx, f.timeout); err != nil {
		return false, err
	}
	f.notified(true)
	defer f.notified(false)
	// What was published before has not come here.
	f.gap.Store(true)
	f.lookNow()

	last := time.Now()
	for {
		got, err := sub.ReceiveTimeout(ctx, time.Second)
		switch {
		case ctx.Err() != nil:
			return true, ctx.Err()
		case isTimeout(err) && time.Since(last) < silentFor:
			if f.store.server.current.Load() != link {
				return true, errors.New("connections to another server are in use now")
			}
			if err := sub.Ping(ctx); err != nil {
				return true, err
			}
			continue
		case err != nil:
			return true, err
		}
		last = time.Now()
		if message, ok := got.(*redis.Message); ok && message.Payload != "" {
			f.pass(message.Payload)
		}
	}
}

// pass gives a message to the one that follows. It does not wait, since the
// server ends subscriptions that are not read: what it cannot take is found by
// comparing.
func (f *feed) pass(message string) {
	if len(message) <= maxMessage { // none of ours is longer
		select {
		case f.heard <- message:
			return
		default:
		}
	}
	f.gap.Store(true)
	f.lookNow()
}

func (f *feed) lookNow() {
	select {
	case f.look <- struct{}{}:
	default:
	}
}

// mayPublish publishes nothing, to see whether it may: a script that tried in
// vain each time would fill the server's log of what its ACL forbids.
func (f *feed) mayPublish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	var said *redis.IntCmd
	if err := f.store.server.ask(ctx, func(batch redis.Pipeliner) { said = batch.Publish(ctx, f.channel, "") }); err != nil {
		return err
	}
	f.publishes.Store(said.Err() == nil)
	if err := said.Err(); isForbidden(err) {
		return fmt.Errorf("publishing: %w", err)
	}
	return said.Err()
}

func (f *feed) notified(is bool) {
	f.mu.Lock()
	forbidden := f.state.Forbidden
	f.state.Notified = is
	if is {
		f.state.Forbidden = false
	}
	f.mu.Unlock()
	if is && forbidden {
		f.log.Info("change feed notified again")
	}
}

// forbid says so once.
func (f *feed) forbid(err error) {
	f.mu.Lock()
	before := f.state.Forbidden
	f.state.Forbidden = true
	f.mu.Unlock()
	if !before {
		f.log.Warn("change feed not notified", "error", err,
			"hint", "changes of other athd are found within a second by comparing; allow +subscribe, +publish and &ath:*")
	}
}

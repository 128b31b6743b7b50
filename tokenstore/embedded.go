package tokenstore

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/ath"
)

// An embedded server is a Redis work-alike inside of this process: for trying
// athd out and for fast tests. It listens on a loopback port of the system's
// choice, with a random password, so that the code path is the real one and
// no other process of the machine can read it.
type embedded struct {
	server *miniredis.Miniredis
	stop   func()
}

func startEmbedded() (*embedded, address, error) {
	password := rand.Text()
	server := miniredis.NewMiniRedis()
	server.RequireAuth(password)
	if err := server.StartAddr("127.0.0.1:0"); err != nil {
		return nil, address{}, fmt.Errorf("starting the embedded store: %w", err)
	}
	done := make(chan struct{})
	var ageing sync.WaitGroup
	ageing.Go(func() { age(server, done) })
	e := &embedded{server: server, stop: sync.OnceFunc(func() {
		close(done)
		ageing.Wait()
		server.Close()
	})}
	return e, address{scheme: "redis", network: "tcp", addrs: []string{server.Addr()}, password: ath.NewSecret(password)}, nil
}

// age drives the TTLs, which miniredis does not do by itself.
func age(server *miniredis.Miniredis, done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			now := time.Now()
			server.FastForward(now.Sub(last))
			last = now
		}
	}
}

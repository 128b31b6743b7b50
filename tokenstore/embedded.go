package tokenstore

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	mini "github.com/alicebob/miniredis/v2/server"

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

func startEmbedded(now func() time.Time) (*embedded, address, error) {
	password := rand.Text()
	server := miniredis.NewMiniRedis()
	server.RequireAuth(password)
	if err := server.StartAddr("127.0.0.1:0"); err != nil {
		return nil, address{}, fmt.Errorf("starting the embedded store: %w", err)
	}
	done := make(chan struct{})
	ages := &ageing{server: server, now: now, last: now()}
	server.Server().SetPreHook(ages.before)
	var ticking sync.WaitGroup
	ticking.Go(func() { ages.run(done) })
	e := &embedded{server: server, stop: sync.OnceFunc(func() {
		close(done)
		ticking.Wait()
		server.Close()
	})}
	return e, address{scheme: "redis", network: "tcp", addrs: []string{server.Addr()}, password: ath.NewSecret(password)}, nil
}

// ageing drives the TTLs by the store's clock, which miniredis does not do by
// itself: to the second, before each script and once a second.
type ageing struct {
	server *miniredis.Miniredis
	now    func() time.Time

	mu   sync.Mutex
	last time.Time
}

func (a *ageing) run(done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			a.age()
		}
	}
}

// before is called for what a script calls, too, while that has the server's lock,
// which age takes: no script can call a script.
func (a *ageing) before(_ *mini.Peer, command string, _ ...string) (answered bool) {
	if command == "EVAL" || command == "EVALSHA" {
		a.age()
	}
	return false
}

func (a *ageing) age() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.now(); now.Sub(a.last) >= time.Second {
		a.server.FastForward(now.Sub(a.last))
		a.last = now
	}
}

package streams

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A wire leads from one athd to Redis, and can be cut.
type wire struct {
	addr string
	cut  atomic.Bool
	open sync.Map // of connections to both sides
}

func newWire(t testing.TB, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: l.Addr().String()}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err != nil || w.cut.Load() {
				down.Close()
				if err == nil {
					up.Close()
				}
				continue
			}
			w.open.Store(down, up)
			both := func() { down.Close(); up.Close(); w.open.Delete(down) }
			all.Go(func() { defer both(); io.Copy(up, down) })
			all.Go(func() { defer both(); io.Copy(down, up) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.Cut()
		all.Wait()
	})
	return w
}

// Cut ends all connections, and each new one at once.
func (w *wire) Cut() {
	w.cut.Store(true)
	w.open.Range(func(down, up any) bool { down.(net.Conn).Close(); up.(net.Conn).Close(); return true })
}

// Heal lets new ones through.
func (w *wire) Heal() { w.cut.Store(false) }

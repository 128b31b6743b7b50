package vault_test

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// A way leads to Redis or to the provider, and nowhere while it is cut: what is
// sent is lost neither there nor back, but waits; for who has left meanwhile only
// where that is said.
type way struct {
	addr string
	cut  atomic.Bool

	leaves bool // what was sent by who has left is dropped
}

func newWay(t testing.TB, to string) *way {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	w := &way{addr: l.Addr().String()}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				from.Close()
				continue
			}
			go w.carry(from, server)
			go w.carry(server, from)
		}
	}()
	return w
}

func (w *way) carry(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		waited := w.cut.Load()
		for w.cut.Load() {
			time.Sleep(5 * time.Millisecond)
		}
		if waited && w.leaves && err == nil {
			from.SetReadDeadline(time.Now().Add(time.Millisecond))
			more, gone := from.Read(buf[n:])
			from.SetReadDeadline(time.Time{})
			if n += more; gone != nil && !errors.Is(gone, os.ErrDeadlineExceeded) {
				return
			}
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// close cuts it.
func (w *way) close() (open func()) {
	w.cut.Store(true)
	return func() { w.cut.Store(false) }
}

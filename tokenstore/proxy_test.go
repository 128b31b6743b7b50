package tokenstore_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A proxy stands between store and server, counts round trips, and can lose a
// reply: the request arrives, and the connection breaks before its answer.
type proxy struct {
	addr  string
	lose  atomic.Bool  // the next reply
	trips atomic.Int64 // requests that followed a reply
}

func startProxy(t *testing.T, server string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noErr(t, err)
	p := &proxy{addr: l.Addr().String()}
	var all sync.WaitGroup
	var open sync.Map
	all.Go(func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", server)
			if err != nil {
				down.Close()
				continue
			}
			open.Store(down, up)
			all.Go(func() { p.carry(down, up) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Range(func(down, up any) bool { down.(net.Conn).Close(); up.(net.Conn).Close(); return true })
		all.Wait()
	})
	return p
}

func (p *proxy) carry(down, up net.Conn) {
	var asked atomic.Bool
	var both sync.WaitGroup
	pass := func(to, from net.Conn, seen func() bool) {
		defer to.Close()
		defer from.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				if !seen() {
					return
				}
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	both.Go(func() {
		pass(up, down, func() bool {
			if !asked.Swap(true) {
				p.trips.Add(1)
			}
			return true
		})
	})
	both.Go(func() {
		pass(down, up, func() bool {
			asked.Store(false)
			return !p.lose.CompareAndSwap(true, false)
		})
	})
	both.Wait()
}

package tokenstore_test

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A proxy stands between store and server, counts round trips, and can lose a
// reply: the request arrives, and the connection breaks before its answer. It
// leaves the connections alone that the store makes each second to look where
// its address leads, and what it asks each second for changes.
type proxy struct {
	addr  string
	lose  atomic.Bool  // the next reply
	cut   atomic.Bool  // every connection
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
	var asked, watch, compare atomic.Bool
	var both sync.WaitGroup
	pass := func(to, from net.Conn, seen func([]byte) bool) {
		defer to.Close()
		defer from.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				if p.cut.Load() || !seen(buf[:n]) {
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
		pass(up, down, func(sent []byte) bool {
			if bytes.Contains(sent, []byte("athd-watch")) || bytes.Contains(sent, []byte("subscribe")) {
				watch.Store(true)
			}
			if bytes.Contains(sent, []byte("ath:{changes}:log")) && bytes.Contains(sent, []byte("+inf")) {
				compare.Store(true)
				return true
			}
			if !watch.Load() && !asked.Swap(true) {
				p.trips.Add(1)
			}
			return true
		})
	})
	both.Go(func() {
		pass(down, up, func([]byte) bool {
			if watch.Load() || compare.Swap(false) {
				return true
			}
			asked.Store(false)
			return !p.lose.CompareAndSwap(true, false)
		})
	})
	both.Wait()
}

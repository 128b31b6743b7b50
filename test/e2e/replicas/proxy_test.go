package replicas

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A proxy stands between athd and Redis. It can be slow, and lead new
// connections elsewhere, as the address of a Service does: those that are open
// stay where they are.
type proxy struct {
	addr  string
	to    atomic.Pointer[string]
	delay atomic.Int64 // of each piece that a server sends, in nanoseconds
}

func startProxy(t testing.TB, server string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String()}
	p.to.Store(&server)
	var all sync.WaitGroup
	var open sync.Map
	all.Go(func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", *p.to.Load())
			if err != nil {
				down.Close()
				continue
			}
			open.Store(down, up)
			all.Go(func() { defer down.Close(); defer up.Close(); io.Copy(up, down) })
			all.Go(func() {
				defer down.Close()
				defer up.Close()
				defer open.Delete(down)
				buf := make([]byte, 64<<10)
				for {
					n, err := up.Read(buf)
					time.Sleep(time.Duration(p.delay.Load()))
					if _, e := down.Write(buf[:n]); e != nil || err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.delay.Store(0)
		open.Range(func(down, up any) bool { down.(net.Conn).Close(); up.(net.Conn).Close(); return true })
		all.Wait()
	})
	return p
}

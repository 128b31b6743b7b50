package watcher_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/watch"
)

// maxStream is what a watched exchange may cost athd in all, gRPC's part with it, in
// bytes: one goroutine whose stack is small, since it only waits.
const maxStream = 16 << 10

// perConnection is how many streams Envoy opens on one connection here.
const perConnection = 2000

// Thousands of exchanges are under watch, on as few connections as Envoy would take.
// The client here remembers nothing of a stream, so that what is measured is athd's.
func TestAStreamIsCheap(t *testing.T) {
	n := 10000
	if raced {
		n = 1000
	}
	w := newWorld(t, watch.Limits{PerGrant: n, PerAgent: n, Total: n}, false)
	connections := make([]*plainClient, (n+perConnection-1)/perConnection)
	for i := range connections {
		connections[i] = dialPlain(t, w.at)
	}
	before, goroutines := memory(), runtime.NumGoroutine()
	for i := range n {
		connections[i/perConnection].open(t, i%perConnection, someHead(t, i))
	}
	until(t, "all are watched", func() bool { return w.Len() == n })
	each := (memory() - before) / n
	goroutines = runtime.NumGoroutine() - goroutines
	t.Logf("%d bytes of heap and stacks, and %.1f goroutines, for each of %d streams, of at most %d bytes",
		each, float64(goroutines)/float64(n), n, maxStream)
	if goroutines > n+n/10 {
		t.Errorf("%d goroutines for %d streams", goroutines, n)
	}
	if raced {
		t.Log("with the race detector nothing can be said of memory")
	} else if each > maxStream || each < 1024 {
		t.Errorf("a stream costs %d bytes", each)
	}
	began := time.Now()
	w.lose(authz.TokenRevoked)
	until(t, "all end", func() bool { return w.Len() == 0 })
	t.Logf("all ended after %v", time.Since(began).Round(time.Millisecond))
}

func memory() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// someHead is a message such as Envoy sends, as gRPC frames it.
func someHead(t *testing.T, i int) []byte {
	m := requestHead(said(func(m map[string]string) {
		token := ath.NewToken(ath.NewTag())
		h := authz.Held{
			Tag: token.Tag(), Grant: token.Digest(), Agent: fmt.Sprintf("https://agents.example.com/%d/agent.json", i%100),
			Provider: "shop", Scope: "read", Rules: 1, Until: time.Now().Add(time.Hour),
		}
		m[envoy.MetaAgent], m[envoy.MetaHeld], m[envoy.MetaDecision] = h.Agent, h.Text(), ath.NewDecisionID()
	}))
	text, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...)
}

// A plainClient speaks HTTP/2 as far as it must to open gRPC streams.
type plainClient struct {
	conn   net.Conn
	framer *http2.Framer
	encode *hpack.Encoder
	block  bytes.Buffer
}

func dialPlain(t *testing.T, at string) *plainClient {
	t.Helper()
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &plainClient{conn: conn, framer: http2.NewFramer(conn, conn)}
	c.encode = hpack.NewEncoder(&c.block)
	_, err = conn.Write([]byte(http2.ClientPreface))
	if err == nil {
		err = c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	}
	if err == nil {
		err = c.framer.WriteWindowUpdate(0, 1<<29)
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() { // answers are thrown away
		buffer := make([]byte, 64<<10)
		for {
			if _, err := conn.Read(buffer); err != nil {
				return
			}
		}
	}()
	return c
}

func (c *plainClient) open(t *testing.T, i int, message []byte) {
	t.Helper()
	c.block.Reset()
	for _, h := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", "/" + envoy.ProcessService + "/Process"}, {":authority", "athd"},
		{"content-type", "application/grpc"}, {"te", "trailers"}, {envoy.StreamRole, envoy.RoleWatch},
	} {
		if err := c.encode.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			t.Fatal(err)
		}
	}
	id := uint32(2*i + 1)
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block.Bytes(), EndHeaders: true})
	if err == nil {
		err = c.framer.WriteData(id, false, message)
	}
	if err != nil {
		t.Fatal(err)
	}
}

package stage

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// An Upstream is an API behind Envoy that keeps the bytes that reach it.
type Upstream struct {
	URL string

	mu    sync.Mutex
	data  bytes.Buffer
	hits  int
	pages map[string]http.HandlerFunc
}

// Serve makes the API answer a path in another way.
func (u *Upstream) Serve(path string, h http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pages == nil {
		u.pages = map[string]http.HandlerFunc{}
	}
	u.pages[path] = h
}

// StartUpstream starts an API on loopback; over TLS if it is given a
// certificate. It answers everything with 200 and what it saw of the request
// line; /stream sends server-sent events until the caller leaves.
func StartUpstream(t testing.TB, cert *tls.Certificate) *Upstream {
	t.Helper()
	u := &Upstream{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.URL = "http://" + l.Addr().String()
	if cert != nil {
		u.URL = "https://" + l.Addr().String()
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12})
	}
	srv := &http.Server{Handler: u, ReadHeaderTimeout: 10 * time.Second}
	go srv.Serve(teeListener{l, u})
	t.Cleanup(func() { srv.Close() })
	return u
}

func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.hits++
	page := u.pages[r.URL.Path]
	u.mu.Unlock()
	if page != nil {
		page(w, r)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/stream") {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 0; ; i++ {
			fmt.Fprintf(w, "data: %d\n\n", i)
			http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	n, _ := io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Upstream", "yes")
	fmt.Fprintf(w, `{"method":%q,"target":%q,"host":%q,"body_bytes":%d}`, r.Method, r.RequestURI, r.Host, n)
}

// Hits returns how many requests have arrived.
func (u *Upstream) Hits() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.hits
}

// Bytes returns all that has arrived since the last call of Forget.
func (u *Upstream) Bytes() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.data.String()
}

// Forget drops what has arrived.
func (u *Upstream) Forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.data.Reset()
	u.hits = 0
}

type teeListener struct {
	net.Listener
	u *Upstream
}

func (l teeListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return teeConn{c, l.u}, nil
}

type teeConn struct {
	net.Conn
	u *Upstream
}

func (c teeConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.u.mu.Lock()
	defer c.u.mu.Unlock()
	if c.u.data.Len() < 8<<20 {
		c.u.data.Write(p[:n])
	}
	return n, err
}

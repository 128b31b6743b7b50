package streams

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// The paths of an API. Each takes ?id=, by which [API.Began] knows the exchange,
// and those that send take ?every=, their pace: "0s" is once, and then silence.
const (
	EventsPath   = "/events"   // GET: server-sent events, of which the first is ?after= late
	SocketPath   = "/socket"   // GET: lines, both ways, after a WebSocket's handshake
	DownloadPath = "/download" // GET: ?length= says how long it claims to be
	PollPath     = "/poll"     // GET: answers when the other side has left
	UploadPath   = "/upload"   // POST: answers when all is there
	CallPath     = "/grpc.testing.TestService/"
	ShortPath    = "/short" // GET and POST: answers at once
)

// pace is how often something is sent where nobody says.
const pace = 20 * time.Millisecond

// An API serves long exchanges over HTTP/1.1 and HTTP/2, with and without TLS,
// until the other side ends them.
type API struct {
	Addr string // host:port, HTTP/1.1, and HTTP/2 for who begins with it
	TLS  string // host:port, by ALPN

	open  atomic.Int64
	began sync.Map // of ids, closed channels
}

// StartAPI starts an API that ends with the test. The certificate is that of its
// TLS port.
func StartAPI(t testing.TB, cert tls.Certificate) *API {
	t.Helper()
	a := &API{}
	calls := grpc.NewServer(grpc.MaxConcurrentStreams(1 << 20))
	testgrpc.RegisterTestServiceServer(calls, &service{api: a})
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+EventsPath, a.events)
	mux.HandleFunc("GET "+SocketPath, a.socket)
	mux.HandleFunc("GET "+DownloadPath, a.download)
	mux.HandleFunc("GET "+PollPath, a.poll)
	mux.HandleFunc("POST "+UploadPath, a.upload)
	mux.Handle("POST "+CallPath, calls)
	mux.HandleFunc(ShortPath, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}")
	})
	serve := func(wrap func(net.Listener) net.Listener) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, Protocols: new(http.Protocols),
			HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1000}}
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetHTTP2(true)
		srv.Protocols.SetUnencryptedHTTP2(true)
		go srv.Serve(wrap(l))
		t.Cleanup(func() { srv.Close() })
		return l.Addr().String()
	}
	a.Addr = serve(func(l net.Listener) net.Listener { return l })
	a.TLS = serve(func(l net.Listener) net.Listener {
		return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}})
	})
	return a
}

// Open is how many exchanges are under way, as the API sees them.
func (a *API) Open() int { return int(a.open.Load()) }

// Began is closed when the exchange with this id is.
func (a *API) Began(id string) <-chan struct{} {
	c, _ := a.began.LoadOrStore(id, make(chan struct{}))
	return c.(chan struct{})
}

// begin counts an exchange until it has ended.
func (a *API) begin(id string) (end func()) {
	if id != "" {
		c, _ := a.began.LoadOrStore(id, make(chan struct{}))
		close(c.(chan struct{}))
	}
	a.open.Add(1)
	return func() {
		a.open.Add(-1)
		a.began.Delete(id)
	}
}

// ticks calls send at the pace that the request asks for, until it fails or the
// other side has left.
func ticks(r *http.Request, send func(i int) error) {
	every := pace
	if text := r.URL.Query().Get("every"); text != "" {
		every, _ = time.ParseDuration(text)
	}
	if send(0) != nil {
		return
	}
	if every <= 0 {
		<-r.Context().Done()
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 1; ; i++ {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
			if send(i) != nil {
				return
			}
		}
	}
}

func (a *API) events(w http.ResponseWriter, r *http.Request) {
	defer a.begin(r.URL.Query().Get("id"))()
	if after, err := time.ParseDuration(r.URL.Query().Get("after")); err == nil {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(after):
		}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	ticks(r, func(i int) error {
		fmt.Fprintf(w, "data: %d\n\n", i)
		return http.NewResponseController(w).Flush()
	})
}

func (a *API) download(w http.ResponseWriter, r *http.Request) {
	defer a.begin(r.URL.Query().Get("id"))()
	w.Header().Set("Content-Type", "application/octet-stream")
	if length := r.URL.Query().Get("length"); length != "" {
		if _, err := strconv.ParseUint(length, 10, 63); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", length)
	}
	piece := make([]byte, 1024)
	ticks(r, func(int) error {
		if _, err := w.Write(piece); err != nil {
			return err
		}
		return http.NewResponseController(w).Flush()
	})
}

func (a *API) poll(_ http.ResponseWriter, r *http.Request) {
	defer a.begin(r.URL.Query().Get("id"))()
	<-r.Context().Done()
}

func (a *API) upload(w http.ResponseWriter, r *http.Request) {
	defer a.begin(r.URL.Query().Get("id"))()
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintf(w, "%d", n)
}

// socket echoes lines and sends some of its own. What stands between a WebSocket's
// frames nobody on the way looks at.
func (a *API) socket(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	conn, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusHTTPVersionNotSupported)
		return
	}
	defer conn.Close()
	defer a.begin(r.URL.Query().Get("id"))()
	conn.SetDeadline(time.Time{})
	var mu sync.Mutex
	say := func(line string) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := io.WriteString(conn, line)
		return err
	}
	if say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n") != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if say("tick\n") != nil {
					conn.Close()
					return
				}
			}
		}
	}()
	defer close(done)
	for in := bufio.NewScanner(both); in.Scan(); {
		if say(in.Text()+"\n") != nil {
			return
		}
	}
}

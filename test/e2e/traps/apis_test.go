package traps

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/athd/athd/ath"
)

// A seen is a request as an API received it.
type seen struct {
	method, target string
	header         http.Header // canonical names; Host among them
	trailer        http.Header
	body           int64
}

type record struct {
	mu  sync.Mutex
	all []seen
}

func (r *record) add(s seen) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, s)
}

// take returns what arrived since the last call.
func (r *record) take() []seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.all
	r.all = nil
	return out
}

// A rawAPI speaks HTTP/1.1 and takes any target: net/http would refuse some
// before a test can see them.
type rawAPI struct {
	record
	addr string
	stop func()
}

func newRawAPI(t *testing.T) *rawAPI {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &rawAPI{addr: l.Addr().String(), stop: func() { l.Close() }}
	t.Cleanup(a.stop)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go a.serve(conn)
		}
	}()
	return a
}

func (a *rawAPI) serve(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		parts := strings.SplitN(strings.TrimRight(line, "\r\n"), " ", 3)
		header, err := textproto.NewReader(in).ReadMIMEHeader()
		if err != nil || len(parts) != 3 {
			return
		}
		if parts[1] == ath.DrainHealthPath { // Envoy's own
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			continue
		}
		s := seen{method: parts[0], target: parts[1], header: http.Header(header)}
		if strings.EqualFold(s.header.Get("Upgrade"), "websocket") {
			a.add(s)
			more := ""
			if s.header.Get("X-Hostile") != "" {
				more = forged
			}
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n"+more+"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			io.Copy(conn, in) // an echo
			return
		}
		// The body, as net/http reads it.
		head := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + s.header.Get("Content-Length") + "\r\n\r\n"
		switch {
		case s.header.Get("Transfer-Encoding") == "chunked":
			head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
		case s.header.Get("Content-Length") == "":
			head = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
		}
		body, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head), in)))
		if err != nil {
			return
		}
		s.body, _ = io.Copy(io.Discard, body.Body)
		a.add(s)
		if reply := hostile(s.header.Get("X-Hostile")); reply != "" {
			io.WriteString(conn, reply)
			if strings.Contains(reply, "Connection: close") {
				return
			}
			continue // else Envoy would take the connection for the next request, and meet its end
		}
		// One request per connection: what the inner reader has taken too
		// much of does not matter.
		more := ""
		if strings.HasSuffix(s.target, "/cors") {
			more = "Access-Control-Allow-Origin: https://own.example\r\nAccess-Control-Allow-Credentials: true\r\nVary: Accept\r\n"
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+more+"Server: raw\r\nX-ATH-Decision-ID: dec_forged\r\nx-ath-link: https://evil.example\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
		return
	}
}

// An h2API is behind TLS and speaks HTTP/2. It answers GET /events with one
// server-sent event and then holds the stream open, all else with "ok".
type h2API struct {
	record
	addr string
}

func newH2API(t *testing.T, cert tls.Certificate) *h2API {
	t.Helper()
	a := &h2API{}
	ended := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		h := r.Header.Clone()
		h.Set("Host", r.Host)
		h.Set("Proto", r.Proto)
		a.add(seen{r.Method, r.RequestURI, h, r.Trailer, n})
		if r.URL.Path == "/events" {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: first\n\n")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-ended:
			}
			return
		}
		if r.Header.Get("X-Hostile") != "" {
			hostileH2(w, r.Header.Get("X-Hostile"))
			return
		}
		w.Header().Set("X-ATH-Decision-ID", "dec_forged")
		w.Header().Set("Trailer", "X-Ath-Late, X-Sum")
		io.WriteString(w, "ok")
		w.Header().Set("X-Ath-Late", "dec_forged")
		w.Header().Set("X-Sum", "1")
	}))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what some tests want
	server.StartTLS()
	t.Cleanup(func() {
		close(ended)
		server.Close()
	})
	a.addr = server.Listener.Addr().String()
	return a
}

// written is a connection to Envoy on which these bytes were sent, and its replies.
func (r *rig) written(text string) (net.Conn, *bufio.Reader) {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr())
	if err != nil {
		r.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		conn.Close()
		r.t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// rawH1 writes these bytes to Envoy and reads one reply.
func (r *rig) rawH1(text string) (*http.Response, string) {
	r.t.Helper()
	conn, in := r.written(text)
	defer conn.Close()
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		r.t.Fatalf("%q: %v", clip(text), err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	r.watch.Refusal("a raw request", response.StatusCode, body)
	return response, string(body)
}

func clip(s string) string { return s[:min(len(s), 120)] }

// rawH2 sends one HTTP/2 request with these fields, a body, and trailers if
// there are any. It returns the status, "reset" when the stream was reset.
func (r *rig) rawH2(fields [][2]string, body string, trailers [][2]string) string {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr())
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, http2.ClientPreface)
	f := http2.NewFramer(conn, conn)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.WriteSettings()
	encode := func(list [][2]string) []byte {
		var b bytes.Buffer
		e := hpack.NewEncoder(&b)
		for _, p := range list {
			e.WriteField(hpack.HeaderField{Name: p[0], Value: p[1]})
		}
		return b.Bytes()
	}
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encode(fields), EndHeaders: true, EndStream: body == "" && trailers == nil})
	if body != "" || trailers != nil {
		f.WriteData(1, trailers == nil, []byte(body))
	}
	if trailers != nil {
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encode(trailers), EndHeaders: true, EndStream: true})
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			r.t.Fatalf("HTTP/2: %v", err)
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			return frame.PseudoValue("status")
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return "reset"
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				f.WriteSettingsAck()
			}
		}
	}
}

// h1 writes an agent's request; lines are further header lines.
func (r *rig) h1(provider, method, target string, lines ...string) string {
	return strings.Join(slices.Concat([]string{method + " " + target + " HTTP/1.1", "Host: gw.example",
		"Connection: close", "Authorization: Bearer " + token(provider), "X-ATH-Agent-ID: " + agentID},
		lines, []string{"", ""}), "\r\n")
}

// h2 lists an agent's header fields.
func (r *rig) h2(provider, method, target string, more ...[2]string) [][2]string {
	return append([][2]string{{":method", method}, {":scheme", "http"}, {":authority", "gw.example"}, {":path", target},
		{"authorization", "Bearer " + token(provider)}, {"x-ath-agent-id", agentID}}, more...)
}

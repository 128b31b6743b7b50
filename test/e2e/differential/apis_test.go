package differential

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/athd/athd/ath"
)

// An arrival is a request as an API received it: raw, as no library would
// give it.
type arrival struct {
	method, target string
	headers        []header // names in lower case
	trailers       []string // names
}

func (a arrival) values(name string) (out []string) {
	for _, h := range a.headers {
		if h.name == name {
			out = append(out, h.value)
		}
	}
	return out
}

type record struct {
	addr string
	mu   sync.Mutex
	all  []arrival
}

// add leaves out Envoy's own health checks. No client's request is taken for
// one: those come with the X-Forwarded-For that Envoy writes.
func (r *record) add(a arrival) {
	if a.target == ath.DrainHealthPath && a.values("x-forwarded-for") == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, a)
}

// take returns what arrived since the last call.
func (r *record) take() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.all
	r.all = nil
	return out
}

// serve hands each connection to its own goroutine until the test ends.
func (r *record) serve(t testing.TB, l net.Listener, handle func(net.Conn)) {
	r.addr = l.Addr().String()
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// An h1API speaks HTTP/1.1 and takes any request line.
type h1API struct{ record }

func newH1API(t testing.TB) *h1API {
	t.Helper()
	a := &h1API{}
	a.serve(t, listen(t), func(conn net.Conn) {
		for in := bufio.NewReader(conn); ; {
			arrived, ok := readH1(in)
			if !ok {
				return
			}
			a.add(arrived)
			if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
				return
			}
		}
	})
	return a
}

// readH1 reads a request with its body, which Envoy has framed.
func readH1(in *bufio.Reader) (a arrival, ok bool) {
	line := func() string {
		s, err := in.ReadString('\n')
		ok = err == nil
		return strings.TrimRight(s, "\r\n")
	}
	// The target is all that stands between the first and the last space.
	request := line()
	first, last := strings.Index(request, " "), strings.LastIndex(request, " ")
	if !ok || first < 0 || first == last {
		return a, false
	}
	a.method, a.target = request[:first], request[first+1:last]
	for s := line(); ok && s != ""; s = line() {
		name, value, _ := strings.Cut(s, ":")
		a.headers = append(a.headers, header{strings.ToLower(name), strings.TrimSpace(value)})
	}
	if n := a.values("content-length"); len(n) > 0 {
		size, _ := strconv.ParseInt(n[0], 10, 64)
		_, err := io.CopyN(io.Discard, in, size)
		return a, ok && err == nil
	}
	if len(a.values("transfer-encoding")) > 0 {
		for ok {
			size, _ := strconv.ParseInt(line(), 16, 64)
			if size == 0 {
				for s := line(); ok && s != ""; s = line() {
					name, _, _ := strings.Cut(s, ":")
					a.trailers = append(a.trailers, strings.ToLower(name))
				}
				break
			}
			_, err := io.CopyN(io.Discard, in, size+2)
			ok = ok && err == nil
		}
	}
	return a, ok
}

// An h2API speaks HTTP/2 behind TLS and takes any :path.
type h2API struct{ record }

func newH2API(t testing.TB, cert tls.Certificate) *h2API {
	t.Helper()
	a := &h2API{}
	l := tls.NewListener(listen(t), &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	a.serve(t, l, a.speak)
	return a
}

func (a *h2API) speak(conn net.Conn) {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(conn, preface); err != nil {
		return
	}
	f := http2.NewFramer(conn, conn)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.WriteSettings()
	var out bytes.Buffer
	encoder := hpack.NewEncoder(&out)
	open := map[uint32]*arrival{}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		ended := false
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			f.WritePing(true, frame.Data)
		case *http2.MetaHeadersFrame:
			arrived, trailers := open[frame.StreamID]
			if !trailers {
				arrived = &arrival{}
				open[frame.StreamID] = arrived
			}
			for _, h := range frame.Fields {
				switch {
				case trailers:
					arrived.trailers = append(arrived.trailers, h.Name)
				case h.Name == ":method":
					arrived.method = h.Value
				case h.Name == ":path":
					arrived.target = h.Value
				default:
					arrived.headers = append(arrived.headers, header{strings.ToLower(h.Name), h.Value})
				}
			}
			ended = frame.StreamEnded()
		case *http2.DataFrame:
			if n := frame.Length; n > 0 {
				f.WriteWindowUpdate(0, n)
			}
			ended = frame.StreamEnded()
		}
		id := frame.Header().StreamID
		if arrived := open[id]; ended && arrived != nil {
			delete(open, id)
			a.add(*arrived)
			out.Reset()
			encoder.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: out.Bytes(), EndHeaders: true, EndStream: true})
		}
	}
}

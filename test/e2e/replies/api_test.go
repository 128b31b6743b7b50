package replies

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// An api answers as its path says, below /v1 or not.
type api struct {
	addr   string
	scheme string
	calls  atomic.Int64
}

func startAPI(t testing.TB, cert *tls.Certificate) *api {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &api{addr: l.Addr().String(), scheme: "http"}
	s := &http.Server{Handler: a, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 10 * time.Second}
	if cert != nil {
		a.scheme = "https"
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"h2", "http/1.1"}}
		go s.ServeTLS(l, "", "")
	} else {
		go s.Serve(l)
	}
	t.Cleanup(func() { s.Close() })
	return a
}

func (a *api) base() string { return a.scheme + "://" + a.addr }

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.calls.Add(1)
	h, token := w.Header(), r.Header.Get("Authorization")
	secret := strings.TrimPrefix(token, "Bearer ")
	h.Set("Content-Type", "text/plain")
	h.Set("X-Kept", "yes")
	cookies := func(h http.Header) {
		h.Add("Set-Cookie", "session=of-the-user")
		h.Add("Set-Cookie", "second=too")
	}
	switch strings.TrimPrefix(r.URL.Path, "/v1") {
	case "/echo":
		h.Set("X-Echo", token)
		h.Set("X-Debug", `{"request":{"authorization":"`+token+`"}}`)
		h.Set("X-Query", "a=1&t="+url.QueryEscape(token))
		h.Set("X-Basic", "Basic "+base64.StdEncoding.EncodeToString([]byte("user:"+secret)))
		h["X-Several"] = []string{"a", token, "b"}
		h.Set("Location", a.base()+"/v1/x?access_token="+secret)
		w.WriteHeader(http.StatusUnauthorized)
	case "/frame": // what is in it cannot be left out
		h.Set("Trailer", secret)
	case "/trailers":
		h.Set("Trailer", "X-Late, X-Sum, Set-Cookie")
		io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		h.Set("X-Late", token)
		h.Set("X-Sum", "1")
		h.Set("Set-Cookie", "late=1")
	case "/unannounced": // of HTTP/2
		io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		h.Set(http.TrailerPrefix+"X-Late", token)
		h.Set(http.TrailerPrefix+"X-Sum", "1")
	case "/cookies":
		cookies(h)
	case "/early":
		early := http.Header{}
		cookies(early)
		early.Set("Link", "<"+a.base()+"/v1/style.css>; rel=preload")
		early.Set("X-Echo", token)
		maps.Copy(h, early)
		w.WriteHeader(http.StatusEarlyHints)
		for name := range early {
			h.Del(name)
		}
	case "/links":
		h.Set("Location", a.base()+"/v1/items/7?a=b#c")
		h.Set("Content-Location", a.base()+"/v1/items/7")
		h.Add("Link", `<`+a.base()+`/v1/items?page=2>; rel="next"; title="see <`+a.base()+`/v1/no>, too", <https://elsewhere.example/v1/items>; rel="alternate"`)
		h.Add("Link", `</v1/items?page=3>; rel="last", <`+a.base()+`/v2/items>; rel="other"`)
		w.WriteHeader(http.StatusCreated)
	case "/limit":
		h.Set("Retry-After", "17")
		h.Set("X-RateLimit-Remaining", "0")
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, `{"error":"the API's own"}`)
	case "/stream":
		h.Set("Content-Type", "text/event-stream")
		for i := 0; ; i++ {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(50 * time.Millisecond): // the pace of the stream
			}
		}
	case "/socket":
		conn, in, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Echo: %s\r\nSet-Cookie: session=of-the-user\r\nX-Kept: yes\r\n\r\n", token)
		io.Copy(conn, bufio.NewReader(in)) // an echo
	}
}

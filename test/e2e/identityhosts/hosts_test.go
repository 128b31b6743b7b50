package identityhosts

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	connecting = 2*time.Second + busy // the limit on a connection is 2 s, with and without TLS
	fetching   = 5*time.Second + busy // and 5 s on all of a fetch

	busy = 10 * time.Second // how much later a machine may be that has much else to do
)

// A hostCase is how a host answers whoever asks for the identity document.
type hostCase struct {
	name   string
	want   string
	atMost time.Duration // zero: unhurried
	asked  int           // -1: no request reaches the host; else one does

	serve func(h *host) http.HandlerFunc // nil: the document
	tls   func(c *tls.Config)            // changes the server's TLS
	names func(c *x509.Certificate)      // changes its certificate
	plain bool                           // no TLS at all
	talk  func(conn net.Conn, h *host)   // speaks in place of TLS and HTTP
}

func hostCases() []hostCase {
	const ok = "HTTP/1.1 200 OK\r\n"
	packed := newBomb()
	bomb := func(*host) []byte { return packed }
	cases := []hostCase{
		{name: "an honest host", want: "accepted"},
		{name: "HTTP/1.0", want: "accepted", serve: saying("HTTP/1.0 200 OK\r\n\r\n")},
		{name: "no status text", want: "accepted", serve: saying("HTTP/1.1 200\r\nContent-Length: LENGTH\r\n\r\n")},
		{name: "early hints first", want: "accepted", serve: saying("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok + "Content-Length: LENGTH\r\n\r\n")},
	}
	for _, kind := range []string{"", "text/html", "image/png", "application/json; charset=utf-16", "multipart/form-data", "\"", "application/octet-stream"} {
		cases = append(cases, hostCase{name: "Content-Type " + strconv.Quote(kind), want: "accepted", serve: withHeader("Content-Type", kind)})
	}
	for _, status := range []int{201, 203, 204, 206, 226, 300, 304, 400, 401, 403, 404, 407, 410, 418, 429, 500, 502, 503, 599} {
		verdict := "refused"
		if status == 429 || status >= 500 {
			verdict = "away" // F-23
		}
		cases = append(cases, hostCase{name: fmt.Sprint("status ", status), want: fmt.Sprint(verdict, ": HTTP status ", status), serve: withStatus(status, "Retry-After", "0")})
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{"http://169.254.169.254/latest/meta-data/", "SELF", "https://" + public4 + "/agent.json", "file:///etc/passwd", "//[::1]/"} {
			cases = append(cases, hostCase{name: fmt.Sprint(status, " to ", to), want: fmt.Sprint("refused: HTTP status ", status), serve: withStatus(status, "Location", to)})
		}
	}
	return append(cases, []hostCase{
		{name: "302 without a Location", want: "refused: HTTP status 302", serve: withStatus(302)},
		{name: "other ways to send elsewhere", want: "accepted", serve: withHeader("Refresh", "0; url=http://169.254.169.254/", "Location", "http://169.254.169.254/", "Alt-Svc", `h2="127.0.0.1:80"`, "Content-Location", "http://169.254.169.254/", "Link", "<http://169.254.169.254/>; rel=preload")},

		{name: "silent after the request", want: "away: deadline exceeded", atMost: fetching, serve: raw("", silence)},
		{name: "a header in slow drips", want: "away: deadline exceeded", atMost: fetching, serve: raw(ok+"X: ", drip("x", 20*time.Millisecond))},
		{name: "headers in slow drips", want: "away: deadline exceeded", atMost: fetching, serve: raw(ok, drip("X: x\r\n", 20*time.Millisecond))},
		{name: "endless headers", want: "refused: headers exceeded 16384 bytes", serve: raw(ok, drip("X: "+strings.Repeat("x", 1000)+"\r\n", 0))},
		{name: "an endless header", want: "refused: headers exceeded 16384 bytes", serve: raw(ok+"X: ", drip(strings.Repeat("x", 1000), 0))},
		{name: "an endless status line", want: "refused: headers exceeded 16384 bytes", serve: raw("HTTP/1.1 200 ", drip(strings.Repeat("x", 1000), 0))},
		{name: "endless early hints", want: "refused: headers exceeded 16384 bytes", serve: raw("", drip("HTTP/1.1 103 Early Hints\r\nX: "+strings.Repeat("x", 200)+"\r\n\r\n", 0))},
		{name: "a body in slow drips", want: "away: deadline exceeded", atMost: fetching, serve: raw(ok+"\r\n", drip(" ", 20*time.Millisecond))},
		{name: "a chunked body in slow drips", want: "away: deadline exceeded", atMost: fetching, serve: raw(ok+"Transfer-Encoding: chunked\r\n\r\n", drip("1\r\n \r\n", 20*time.Millisecond))},
		{name: "a body that stops", want: "away: deadline exceeded", atMost: fetching, serve: raw(ok+"Content-Length: 1000\r\n\r\n{", silence)},
		{name: "an endless body", want: "refused: larger than 65536 bytes", serve: raw(ok+"\r\n", drip(strings.Repeat(" ", 4096), 0))},
		{name: "an endless chunked body", want: "refused: larger than 65536 bytes", serve: raw(ok+"Transfer-Encoding: chunked\r\n\r\n", drip("1000\r\n"+strings.Repeat(" ", 4096)+"\r\n", 0))},
		{name: "endless chunk extensions", want: "refused: too much non-data", serve: raw(ok+"Transfer-Encoding: chunked\r\n\r\n", drip("1;"+strings.Repeat("x", 4000)+"\r\n \r\n", 0))},
		{name: "endless trailers", want: "refused: suspiciously long trailer", serve: raw(ok+"Transfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\n", drip("X: "+strings.Repeat("x", 1000)+"\r\n", 0))},
		{name: "a terabyte, it says", want: "refused: larger than 65536 bytes", serve: raw(ok+"Content-Length: 1099511627776\r\n\r\n", drip(strings.Repeat(" ", 4096), 0))},
		{name: "less than it says", want: "away: unexpected EOF", serve: saying(ok + "Content-Length: 60000\r\n\r\n")},
		{name: "more than it says", want: "refused: not JSON", serve: saying(ok + "Content-Length: 10\r\n\r\n")},
		{name: "two lengths", want: "refused: multiple Content-Length", serve: saying(ok + "Content-Length: LENGTH\r\nContent-Length: 10\r\n\r\n")},
		{name: "a negative length", want: "refused: bad Content-Length", serve: saying(ok + "Content-Length: -1\r\n\r\n")},
		{name: "not HTTP", want: "refused: malformed HTTP", serve: raw("SSH-2.0-OpenSSH_9.9\r\n", nil)},
		{name: "HTTP/9.9", want: "refused: malformed HTTP version", serve: saying("HTTP/9.9x 200 OK\r\n\r\n")},
		{name: "another protocol, offered", want: "refused: HTTP status 101", serve: raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", silence)},
		{name: "hangs up", want: "away: EOF", serve: raw("", nil)},

		{name: "gzip that was not asked for", want: "accepted", serve: withBody(zipped, "Content-Encoding", "gzip")},
		{name: "a gzip bomb", want: "refused: larger than 65536 bytes", serve: withBody(bomb, "Content-Encoding", "gzip")},
		{name: "a gzip bomb that says nothing of it", want: "refused: larger than 65536 bytes", serve: withBody(bomb)},
		{name: "a gzip bomb as transfer encoding", want: "refused: unsupported transfer encoding", serve: raw(ok+"Transfer-Encoding: gzip, chunked\r\n\r\n", silence)},
		{name: "deflate, br", want: "refused: which was not asked for", serve: withHeader("Content-Encoding", "deflate, br")},
		{name: "identity, as encoding", want: "accepted", serve: withHeader("Content-Encoding", "identity")},

		{name: "a certificate for another name", want: "refused: certificate is valid for", asked: -1, names: func(c *x509.Certificate) { c.DNSNames = []string{"other." + domain} }},
		{name: "a certificate for a parent's children's children", want: "refused: certificate is", asked: -1, names: func(c *x509.Certificate) { c.DNSNames = []string{"*.*." + domain, "*.example"} }},
		{name: "a certificate with the name as common name only", want: "refused: certificate", asked: -1, names: func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, "*."+domain }},
		{name: "an expired certificate", want: "refused: certificate has expired", asked: -1, names: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }},
		{name: "a certificate of tomorrow", want: "refused: certificate has expired or is not yet valid", asked: -1, names: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }},
		{name: "a certificate for clients", want: "refused: incompatible key usage", asked: -1, names: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }},
		{name: "a self-signed certificate", want: "refused: unknown authority", asked: -1, tls: selfSigned},
		{name: "TLS 1.0 and 1.1 only", want: "refused: protocol version", asked: -1, tls: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }},
		{name: "TLS 1.2", want: "accepted", tls: func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }},
		{name: "wants a client's certificate", want: "refused: certificate required", asked: -1, tls: func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }},
		{name: "HTTP on the port for HTTPS", want: "refused: server gave HTTP response to HTTPS client", asked: -1, plain: true},
		{name: "silent where TLS should begin", want: "away: TLS handshake timeout", atMost: connecting, asked: -1, talk: func(conn net.Conn, _ *host) { io.Copy(io.Discard, conn) }},
		{name: "TLS records in slow drips", want: "away: TLS handshake timeout", atMost: connecting, asked: -1, talk: func(conn net.Conn, h *host) {
			io.WriteString(conn, "\x16\x03\x03\x40\x00")
			drip("x", 20*time.Millisecond)(h.t.Context(), conn)
		}},
		{name: "garbage where TLS should begin", want: "refused: tls: ", asked: -1, talk: func(conn net.Conn, h *host) { drip("\xff\xff\xff\xff", 0)(h.t.Context(), conn) }},
		{name: "endless empty TLS records", want: "refused: tls: ", atMost: connecting, asked: -1, talk: func(conn net.Conn, h *host) { drip("\x16\x03\x03\x00\x00", 0)(h.t.Context(), conn) }},
	}...)
}

// selfSigned replaces the certificate by one that nobody vouches for.
func selfSigned(c *tls.Config) {
	leaf, err := x509.ParseCertificate(c.Certificates[0].Certificate[0])
	if err != nil {
		panic(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, leaf.PublicKey, c.Certificates[0].PrivateKey)
	if err != nil {
		panic(err)
	}
	c.Certificates[0].Certificate[0] = der
}

// hosts has identities verified that are published by hosts at loopback,
// where development allows them.
func (w *world) hosts(t *testing.T, table *table) {
	for _, c := range hostCases() {
		row := table.row(c.name, c.want)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.atMost == 0 {
				w.turn(t)
			}
			h := w.newHost(t, w.name())
			w.dns.add(h.name, at("127.0.0.1"))
			settings := w.tls(t, c.names)
			if c.tls != nil {
				c.tls(settings)
			}
			switch {
			case c.talk != nil:
				go h.serve(func(conn net.Conn) {
					defer conn.Close()
					c.talk(conn, h)
				})
			case c.plain:
				h.serveWith(func(l net.Listener) net.Listener { return l })
			default:
				h.serveTLS(settings)
			}
			var answer http.HandlerFunc
			if c.serve != nil {
				answer = c.serve(h)
			}
			h.answer(answer)
			w.judgeHost(t, h, row, max(c.atMost, unhurried), 1+c.asked)
		})
	}
	w.full(t, table)
}

// full is a port that completes no connection: its queue is full.
func (w *world) full(t *testing.T, table *table) {
	row := table.row("a port that takes no connection", "away: i/o timeout")
	t.Run(row.name, func(t *testing.T) {
		t.Parallel()
		h := w.newHost(t, w.name())
		w.dns.add(h.name, at("127.0.0.1"))
		raw, err := h.sockets[0].(*net.TCPListener).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) })
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(h.port())), 100*time.Millisecond)
			if err != nil {
				break
			}
			defer conn.Close()
		}
		s := newShared()
		start := time.Now()
		identity, err := h.verify(w.verifier(t, s, true), s, h.key)
		row.took, row.got = time.Since(start), outcome(t, identity, err)
		if !asWanted(row.got, row.want) || row.took > connecting {
			t.Errorf("got %s after %v", row.got, row.took)
		}
	})
}

// judgeHost has the document fetched: over one connection, by at most one
// request, within a time.
func (w *world) judgeHost(t *testing.T, h *host, row *row, atMost time.Duration, asked int) {
	s := newShared()
	start := time.Now()
	identity, err := h.verify(w.verifier(t, s, true), s, h.key)
	row.took, row.got = time.Since(start), outcome(t, identity, err)
	row.connections = len(h.connections())
	if !asWanted(row.got, row.want) {
		t.Errorf("got %s, want %s", row.got, row.want)
	}
	if row.connections != 1 {
		t.Errorf("%d connections, want 1", row.connections)
	}
	if got := h.requests(); got != asked {
		t.Errorf("%d requests were read, want %d", got, asked)
	}
	if err != nil && s.spent() {
		t.Error("A-5: a jti was spent")
	}
	if row.took > atMost {
		t.Errorf("took %v, more than %v", row.took, atMost)
	}
}

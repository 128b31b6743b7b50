package identityhosts

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
)

// A listener counts what arrives at a port, on whichever address.
type listener struct {
	t       testing.TB
	sockets []net.Listener

	mu       sync.Mutex
	arrived  *sync.Cond
	arrivals []arrival
}

type arrival struct{ to, from netip.AddrPort }

// listen opens the addresses; those after the first are tried only, since a
// machine may be without IPv6.
func listen(t testing.TB, first string, more ...string) *listener {
	t.Helper()
	l := &listener{t: t}
	l.arrived = sync.NewCond(&l.mu)
	for i, address := range append([]string{first}, more...) {
		if host, port, _ := net.SplitHostPort(address); port == "0" && i > 0 {
			address = net.JoinHostPort(host, strconv.Itoa(l.port()))
		}
		network := "tcp4"
		if address[0] == '[' {
			network = "tcp6"
		}
		socket, err := net.Listen(network, address)
		if err != nil {
			if i == 0 {
				t.Fatal(err)
			}
			continue
		}
		l.sockets = append(l.sockets, socket)
		t.Cleanup(func() { socket.Close() })
	}
	return l
}

func (l *listener) port() int { return l.sockets[0].Addr().(*net.TCPAddr).Port }

// accept waits for a connection at one of the sockets, and counts it.
func (l *listener) accept(socket net.Listener) (net.Conn, error) {
	conn, err := socket.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.arrivals = append(l.arrivals, arrival{to: addrPort(conn.LocalAddr()), from: addrPort(conn.RemoteAddr())})
	l.mu.Unlock()
	l.arrived.Broadcast()
	return conn, nil
}

// serve hands every connection to handle, until the sockets are closed.
func (l *listener) serve(handle func(net.Conn)) {
	var serving sync.WaitGroup
	for _, socket := range l.sockets {
		serving.Go(func() {
			for {
				conn, err := l.accept(socket)
				if err != nil {
					return
				}
				go handle(conn)
			}
		})
	}
	serving.Wait()
}

// connections returns the addresses that were connected to, in order. It
// connects to each socket itself and waits for that connection: the kernel
// hands them out in order, so that no earlier one is still on its way.
func (l *listener) connections() []netip.Addr {
	l.t.Helper()
	ours := map[netip.AddrPort]bool{}
	for _, socket := range l.sockets {
		conn, err := net.Dial("tcp", net.JoinHostPort(loopbackOf(socket), strconv.Itoa(l.port())))
		if err != nil {
			l.t.Fatal(err)
		}
		defer conn.Close()
		ours[addrPort(conn.LocalAddr())] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		missing := len(ours)
		var others []netip.Addr
		for _, a := range l.arrivals {
			if ours[a.from] {
				missing--
			} else {
				others = append(others, a.to.Addr())
			}
		}
		if missing == 0 {
			l.forget(ours)
			return others
		}
		l.arrived.Wait()
	}
}

// forget needs l.mu. It takes our own connections out of the count.
func (l *listener) forget(ours map[netip.AddrPort]bool) {
	kept := l.arrivals[:0]
	for _, a := range l.arrivals {
		if !ours[a.from] {
			kept = append(kept, a)
		}
	}
	l.arrivals = kept
}

func loopbackOf(socket net.Listener) string {
	if addrPort(socket.Addr()).Addr().Is4() {
		return "127.0.0.1"
	}
	return "::1"
}

func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// one is a listener's socket as a server wants it.
type one struct {
	net.Listener
	l *listener
}

func (o one) Accept() (net.Conn, error) { return o.l.accept(o.Listener) }

// A host is an agent with the host of its identity document.
type host struct {
	*listener
	w    *world
	name string
	id   ath.AgentID
	key  *ecdsa.PrivateKey

	mu        sync.Mutex
	published *ecdsa.PublicKey
	handler   http.HandlerFunc // nil: the document
	asked     int
}

// newHost opens a port of its own for a host of this name: on every address
// where they are all ours, else on loopback.
func (w *world) newHost(t testing.TB, name string) *host {
	t.Helper()
	h := &host{w: w, name: name, key: newKey(t)}
	h.published = &h.key.PublicKey
	if w.everywhere {
		h.listener = listen(t, "0.0.0.0:0", "[::]:0")
	} else {
		h.listener = listen(t, "127.0.0.1:0", "[::1]:0")
	}
	h.id = h.idAt(name)
	return h
}

// idAt returns the agent_id that the agent would have under another name.
func (h *host) idAt(name string) ath.AgentID {
	h.t.Helper()
	id, err := ath.ParseAgentID("https://"+name+":"+strconv.Itoa(h.port())+"/agent.json", false)
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// serveTLS serves the document, or what answer says, over TLS.
func (h *host) serveTLS(c *tls.Config) {
	h.serveWith(func(l net.Listener) net.Listener { return tls.NewListener(l, c) })
}

func (h *host) serveWith(wrap func(net.Listener) net.Listener) {
	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0), // hostile hosts fail all the time
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.mu.Lock()
			handler := h.handler
			h.asked++
			h.mu.Unlock()
			if handler == nil {
				w.Write(h.document())
				return
			}
			handler(w, r)
		}),
	}
	for _, socket := range h.sockets {
		go server.Serve(wrap(one{socket, h.listener}))
	}
	h.t.Cleanup(func() { server.Close() })
}

// answer makes the host answer with this from now on; nil is the document.
func (h *host) answer(handler http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handler = handler
}

// requests returns how many were read.
func (h *host) requests() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked
}

// publish changes the key in the document.
func (h *host) publish(key *ecdsa.PrivateKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.published = &key.PublicKey
}

func (h *host) document() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return documentOf(h.id, jwkOf(h.published))
}

func documentOf(id ath.AgentID, key string) []byte {
	return []byte(`{"agent_id":"` + id.String() + `","ath_version":"0.1","name":"Shopper","developer":{"name":"Dev","id":"dev-1"},"public_key":` + key + `}`)
}

// jwkOf writes a public key of any curve as a JWK.
func jwkOf(key *ecdsa.PublicKey) string {
	point, err := key.Bytes() // 4, x, y
	if err != nil {
		panic(err)
	}
	half := (len(point) - 1) / 2
	text, err := json.Marshal(map[string]string{
		"kty": "EC", "crv": key.Curve.Params().Name,
		"x": base64.RawURLEncoding.EncodeToString(point[1 : 1+half]), "y": base64.RawURLEncoding.EncodeToString(point[1+half:]),
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// attest signs what clients in the field send.
func (h *host) attest(id ath.AgentID, key *ecdsa.PrivateKey, audience string, now time.Time) string {
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": id.String(), "sub": id.String(), "aud": audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": rand.Text(),
	})
	token.Header["kid"] = "key-1"
	compact, err := token.SignedString(key)
	if err != nil {
		panic(err)
	}
	return compact
}

// verify has a fresh attestation verified, signed with this key.
func (h *host) verify(v *attest.Verifier, s *shared, key *ecdsa.PrivateKey) (*attest.Identity, error) {
	return v.Verify(h.t.Context(), h.attest(h.id, key, audience, s.now()), attest.Expect{Agent: h.id, Audiences: []string{audience}})
}

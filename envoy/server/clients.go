package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"sync"
)

// Clients are those who may ask, by certificates of a CA that carry one of some
// names, and what athd shows to them. All of that can be replaced while athd runs:
// whoever may not ask any more loses the connections that are open.
type Clients struct {
	mu   sync.Mutex
	now  *admission
	open map[net.Conn][]*x509.Certificate // of those who were let in
}

// admission is what is asked of a client.
type admission struct {
	config *tls.Config
	sans   []string
}

// NewClients admits clients whose verified certificate carries one of the names as a
// subject alternative name, byte for byte. The configuration must require client
// certificates, and verify them against a CA of its own.
func NewClients(c *tls.Config, sans []string) (*Clients, error) {
	a, err := newAdmission(c, sans)
	if err != nil {
		return nil, err
	}
	return &Clients{now: a, open: map[net.Conn][]*x509.Certificate{}}, nil
}

func newAdmission(c *tls.Config, sans []string) (*admission, error) {
	switch {
	case c.ClientAuth != tls.RequireAndVerifyClientCert || c.ClientCAs == nil:
		return nil, errors.New("envoy: TLS must require client certificates and verify them against a CA of its own")
	case c.GetConfigForClient != nil:
		return nil, errors.New("envoy: TLS that chooses its configuration per client would leave the client's name unchecked")
	case len(sans) == 0 || slices.Contains(sans, ""):
		return nil, errors.New("envoy: TLS needs the names that a client's certificate may carry, none of them empty")
	}
	out := c.Clone()
	out.MinVersion = max(out.MinVersion, tls.VersionTLS12)
	// A session that is resumed would keep the certificate of before, and Envoy's
	// connections are few and long.
	out.SessionTicketsDisabled = true
	return &admission{out, slices.Clone(sans)}, nil
}

// Next judges who may ask from now on, and what they are shown, and changes nothing
// yet: take does, which cannot fail.
func (c *Clients) Next(next *tls.Config, sans []string) (take func(), err error) {
	a, err := newAdmission(next, sans)
	if err != nil {
		return nil, err
	}
	return func() { c.use(a) }, nil
}

func (c *Clients) use(a *admission) {
	c.mu.Lock()
	c.now = a
	var gone []net.Conn
	for conn, certificates := range c.open {
		if a.admits(certificates) != nil {
			gone = append(gone, conn)
		}
	}
	c.mu.Unlock()
	for _, conn := range gone {
		conn.Close()
	}
}

// Config is for servers on listeners of [Clients.Listener], with the protocols that
// they speak.
func (c *Clients) Config(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c.mu.Lock()
			config := c.now.config.Clone()
			c.mu.Unlock()
			config.NextProtos = protocols
			before := config.VerifyConnection
			// VerifyConnection, unlike VerifyPeerCertificate, also runs when a
			// session is resumed.
			config.VerifyConnection = func(state tls.ConnectionState) error {
				if before != nil {
					if err := before(state); err != nil {
						return err
					}
				}
				return c.admit(hello.Conn, state)
			}
			return config, nil
		},
	}
}

// admit lets a client in by what holds now, which may be another than at the
// beginning of the handshake.
func (c *Clients) admit(conn net.Conn, state tls.ConnectionState) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(state.VerifiedChains) == 0 {
		return errNoName
	}
	if err := c.now.admits(state.PeerCertificates); err != nil {
		return err
	}
	c.open[conn] = state.PeerCertificates
	return nil
}

var errNoName = errors.New("the client's certificate carries none of the names that may ask")

func (a *admission) admits(certificates []*x509.Certificate) error {
	if len(certificates) == 0 || !carriesName(certificates[0], a.sans) {
		return errNoName
	}
	between := x509.NewCertPool()
	for _, cert := range certificates[1:] {
		between.AddCert(cert)
	}
	options := x509.VerifyOptions{Roots: a.config.ClientCAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if a.config.Time != nil {
		options.CurrentTime = a.config.Time()
	}
	_, err := certificates[0].Verify(options)
	return err
}

// Listener returns a listener whose connections are known, and forgotten when they
// are closed.
func (c *Clients) Listener(l net.Listener) net.Listener { return knownListener{l, c} }

type knownListener struct {
	net.Listener
	clients *Clients
}

func (l knownListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &knownConn{conn, l.clients}, nil
}

type knownConn struct {
	net.Conn
	clients *Clients
}

func (c *knownConn) Close() error {
	c.clients.mu.Lock()
	delete(c.clients.open, c)
	c.clients.mu.Unlock()
	return c.Conn.Close()
}

func carriesName(cert *x509.Certificate, sans []string) bool {
	for _, name := range cert.DNSNames {
		if slices.Contains(sans, name) {
			return true
		}
	}
	for _, uri := range cert.URIs {
		if slices.Contains(sans, uri.String()) {
			return true
		}
	}
	return false
}

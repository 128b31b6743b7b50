package config

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"time"

	"github.com/athd/athd/ath"
)

// Where athd listens unless the configuration says otherwise.
const (
	defaultGRPC  = "unix:/run/athd/authz.sock"
	defaultHTTP  = "127.0.0.1:9000"
	DefaultAdmin = "127.0.0.1:9002"
)

// listen checks the listeners, and who may ask the one that answers with
// users' tokens.
func (l *loader) listen() {
	c := &l.c.Listen
	l.s.GRPC = l.address(c.GRPC, defaultGRPC, "listen", "grpc")
	l.s.HTTP = l.address(c.HTTP, defaultHTTP, "listen", "http")
	l.s.Admin = l.address(c.Admin, DefaultAdmin, "listen", "admin")
	l.distinct()
	withTLS := l.serverTLS()

	switch open := l.s.GRPC != (Address{}) && !l.s.GRPC.Private(); {
	case open && !withTLS && !c.InsecureGRPC:
		l.Fail("the answers hold users' tokens, so only Envoy may ask: use a Unix socket or a loopback address, "+
			"set listen.tls, or, where a mesh's own sidecar does mutual TLS, insecure_grpc_without_client_auth: true", "listen", "grpc")
	case c.InsecureGRPC && !open:
		l.Fail("has no effect: listen.grpc can only be reached from this machine", "listen", "insecure_grpc_without_client_auth")
	case c.InsecureGRPC && withTLS:
		l.Fail("contradicts listen.tls, which authenticates clients", "listen", "insecure_grpc_without_client_auth")
	case c.InsecureGRPC:
		l.warn("listen.insecure_grpc_without_client_auth is on: whoever reaches %s can read users' tokens", l.s.GRPC)
	case l.s.GRPC.Network == "tcp" && l.s.GRPC.Private() && !withTLS:
		l.warn("listen.grpc is %s: every program on this machine, an agent too, can ask there for users' tokens: use a Unix socket, or listen.tls", l.s.GRPC)
	}
	if !l.s.Admin.Private() && l.s.Admin != (Address{}) {
		l.warn("listen.admin is %s: its metrics are there for everyone who reaches it", l.s.Admin)
	}
}

const (
	defaultDrainDelay = 5 * time.Second
	maxDrainDelay     = time.Minute
)

// draining reads how long athd goes on answering once it has said that it goes.
func (l *loader) draining() {
	l.s.DrainDelay = defaultDrainDelay
	if l.c.DrainDelay == "" {
		return
	}
	d, err := ath.ParseDuration(l.c.DrainDelay)
	if l.c.DrainDelay == "0s" {
		d, err = 0, nil
	}
	if err != nil || d < 0 || d > maxDrainDelay {
		l.Fail("want a duration of at most 1m, such as 5s, or 0s", "drain_delay")
		return
	}
	l.s.DrainDelay = d
}

func (l *loader) address(s, fallback string, path ...any) Address {
	if s == "" {
		s = fallback
	}
	a, err := ParseAddress(s)
	if err != nil {
		l.Fail(err.Error(), path...)
	}
	return a
}

func (l *loader) distinct() {
	for _, pair := range []struct {
		a, b Address
		of   string
		than string
	}{
		{l.s.HTTP, l.s.GRPC, "http", "listen.grpc"},
		{l.s.Admin, l.s.GRPC, "admin", "listen.grpc"},
		{l.s.Admin, l.s.HTTP, "admin", "listen.http"},
	} {
		if pair.a == pair.b && pair.a != (Address{}) && !pair.a.AnyPort() {
			l.Fail("is the same address as "+pair.than, "listen", pair.of)
		}
	}
}

// serverTLS reads listen.tls, which is there as a whole or not at all. It
// reports whether any of it is.
func (l *loader) serverTLS() bool {
	c := &l.c.Listen.TLS
	if c.CertFile == "" && c.KeyFile == "" && c.ClientCAFile == "" && len(c.ClientSANs) == 0 {
		return false
	}
	whole := l.Required(c.CertFile, "listen", "tls", "cert_file")
	whole = l.Required(c.KeyFile, "listen", "tls", "key_file") && whole
	whole = l.Required(c.ClientCAFile, "listen", "tls", "client_ca_file") && whole
	if len(c.ClientSANs) == 0 {
		l.Fail("is missing: name the clients (DNS names or URIs of their certificates) that may ask", "listen", "tls", "client_sans")
		whole = false
	}
	for i, san := range c.ClientSANs {
		if san == "" || strings.ContainsAny(san, " *") {
			l.Fail("want a DNS name or a URI, without wildcards", "listen", "tls", "client_sans", i)
		}
	}
	if !whole {
		return true
	}
	t := &ServerTLS{ClientSANs: c.ClientSANs}
	cert, ok := l.readFile(c.CertFile, publicFile, "listen", "tls", "cert_file")
	key, keyOK := l.readFile(c.KeyFile, privateKeyFile, "listen", "tls", "key_file")
	if ok && keyOK {
		var err error
		if t.Certificate, err = tls.X509KeyPair(cert, key); err != nil {
			// The library's words tell PEM types at most.
			l.Fail("does not fit its key: "+strings.TrimPrefix(err.Error(), "tls: "), "listen", "tls", "cert_file")
		}
	}
	if ca, ok := l.readFile(c.ClientCAFile, publicFile, "listen", "tls", "client_ca_file"); ok {
		t.ClientCAs = x509.NewCertPool()
		if !t.ClientCAs.AppendCertsFromPEM(ca) {
			l.Fail("holds no certificate in PEM", "listen", "tls", "client_ca_file")
		}
	}
	l.s.TLS = t
	return true
}

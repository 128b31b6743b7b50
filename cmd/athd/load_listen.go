package main

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"time"
)

// Where athd listens unless the configuration says otherwise.
const (
	defaultGRPC  = "unix:/run/athd/authz.sock"
	defaultHTTP  = "127.0.0.1:9000"
	defaultAdmin = "127.0.0.1:9002"
)

// listen checks the listeners, and who may ask the one that answers with
// users' tokens.
func (l *loader) listen() {
	c := &l.c.Listen
	l.s.grpc = l.address(c.GRPC, defaultGRPC, "listen", "grpc")
	l.s.http = l.address(c.HTTP, defaultHTTP, "listen", "http")
	l.s.admin = l.address(c.Admin, defaultAdmin, "listen", "admin")
	l.distinct()
	withTLS := l.serverTLS()

	switch open := l.s.grpc != (address{}) && !l.s.grpc.private(); {
	case open && !withTLS && !c.InsecureGRPC:
		l.fail("the answers hold users' tokens, so only Envoy may ask: use a Unix socket or a loopback address, "+
			"set listen.tls, or, where a mesh's own sidecar does mutual TLS, insecure_grpc_without_client_auth: true", "listen", "grpc")
	case c.InsecureGRPC && !open:
		l.fail("has no effect: listen.grpc can only be reached from this machine", "listen", "insecure_grpc_without_client_auth")
	case c.InsecureGRPC && withTLS:
		l.fail("contradicts listen.tls, which authenticates clients", "listen", "insecure_grpc_without_client_auth")
	case c.InsecureGRPC:
		l.warn("listen.insecure_grpc_without_client_auth is on: whoever reaches %s can read users' tokens", l.s.grpc)
	case l.s.grpc.network == "tcp" && l.s.grpc.private() && !withTLS:
		l.warn("listen.grpc is %s: every program on this machine, an agent too, can ask there for users' tokens: use a Unix socket, or listen.tls", l.s.grpc)
	}
	if !l.s.admin.private() && l.s.admin != (address{}) {
		l.warn("listen.admin is %s: its metrics are there for everyone who reaches it", l.s.admin)
	}
}

const (
	defaultDrainDelay = 5 * time.Second
	maxDrainDelay     = time.Minute
)

// draining reads how long athd goes on answering once it has said that it goes.
func (l *loader) draining() {
	l.s.drainDelay = defaultDrainDelay
	if l.c.DrainDelay == "" {
		return
	}
	d, err := parseDuration(l.c.DrainDelay)
	if l.c.DrainDelay == "0s" {
		d, err = 0, nil
	}
	if err != nil || d < 0 || d > maxDrainDelay {
		l.fail("want a duration of at most 1m, such as 5s, or 0s", "drain_delay")
		return
	}
	l.s.drainDelay = d
}

func (l *loader) address(s, fallback string, path ...any) address {
	if s == "" {
		s = fallback
	}
	a, err := parseAddress(s)
	if err != nil {
		l.fail(err.Error(), path...)
	}
	return a
}

func (l *loader) distinct() {
	for _, pair := range []struct {
		a, b address
		of   string
		than string
	}{
		{l.s.http, l.s.grpc, "http", "listen.grpc"},
		{l.s.admin, l.s.grpc, "admin", "listen.grpc"},
		{l.s.admin, l.s.http, "admin", "listen.http"},
	} {
		if pair.a == pair.b && pair.a != (address{}) && !pair.a.anyPort() {
			l.fail("is the same address as "+pair.than, "listen", pair.of)
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
	whole := l.required(c.CertFile, "listen", "tls", "cert_file")
	whole = l.required(c.KeyFile, "listen", "tls", "key_file") && whole
	whole = l.required(c.ClientCAFile, "listen", "tls", "client_ca_file") && whole
	if len(c.ClientSANs) == 0 {
		l.fail("is missing: name the clients (DNS names or URIs of their certificates) that may ask", "listen", "tls", "client_sans")
		whole = false
	}
	for i, san := range c.ClientSANs {
		if san == "" || strings.ContainsAny(san, " *") {
			l.fail("want a DNS name or a URI, without wildcards", "listen", "tls", "client_sans", i)
		}
	}
	if !whole {
		return true
	}
	t := &serverTLS{clientSANs: c.ClientSANs}
	cert, ok := l.kept(c.CertFile, keptOpen, "listen", "tls", "cert_file")
	key, keyOK := l.kept(c.KeyFile, keptKey, "listen", "tls", "key_file")
	if ok && keyOK {
		var err error
		if t.certificate, err = tls.X509KeyPair(cert, key); err != nil {
			// The library's words tell PEM types at most.
			l.fail("does not fit its key: "+strings.TrimPrefix(err.Error(), "tls: "), "listen", "tls", "cert_file")
		}
	}
	if ca, ok := l.kept(c.ClientCAFile, keptOpen, "listen", "tls", "client_ca_file"); ok {
		t.clientCAs = x509.NewCertPool()
		if !t.clientCAs.AppendCertsFromPEM(ca) {
			l.fail("holds no certificate in PEM", "listen", "tls", "client_ca_file")
		}
	}
	l.s.tls = t
	return true
}

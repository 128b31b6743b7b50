// Package egress says which addresses may be reached on behalf of strangers, and
// has the HTTP client for the hosts that they name: an agent's identity document,
// an OAuth server's metadata, a run-time provider's endpoints. [NewClient] judges
// each address at the moment at which it connects, so that no name, however
// it resolves, leads into the private network. Envoy judges by the same table:
// see [Policy].
package egress

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"time"
)

const (
	connectTimeout = 2 * time.Second
	replyTimeout   = 5 * time.Second // until the reply's header is there
)

// Config configures the client. Its zero value reaches public addresses only.
type Config struct {
	Policy Policy

	// ReplyTimeout is how long the reply's header may take; default 5 s.
	ReplyTimeout time.Duration

	// InsecureTestingOnlyRootCAs replaces the system's certificates, and
	// TestingOnlyResolver its name server.
	InsecureTestingOnlyRootCAs *x509.CertPool
	TestingOnlyResolver        *net.Resolver
}

// NewClient returns the client for hostile hosts: it asks the host
// itself (no proxy), goes nowhere else (no redirects), judges every address,
// and keeps no connection, so that every fetch is judged. It sets no deadline
// for a whole request and no limit for its body: callers do.
func NewClient(c Config) *http.Client {
	tls := c.transport(c.Policy.Judge)
	tls.RegisterProtocol("http", c.transport(c.Policy.JudgeHTTP))
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     tls,
	}
}

func (c Config) transport(judge func(netip.AddrPort) error) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout, Control: control(judge), Resolver: c.TestingOnlyResolver}
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    connectTimeout,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.InsecureTestingOnlyRootCAs},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		ResponseHeaderTimeout:  cmp.Or(c.ReplyTimeout, replyTimeout),
		MaxResponseHeaderBytes: 16 << 10,
	}
}

// Package egress has the HTTP client for hosts that strangers name: an agent's
// identity document, an OAuth server's metadata. [NewClient] judges each address
// at the moment at which it connects, so that no name, however it
// resolves, leads into the private network.
package egress

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

const (
	connectTimeout = 2 * time.Second
	replyTimeout   = 5 * time.Second // until the reply's header is there
)

// Config configures the client. Its zero value reaches public addresses only.
type Config struct {
	AllowPrivate bool // development: loopback and private addresses too

	// ReplyTimeout is how long the reply's header may take; default 5 s.
	ReplyTimeout time.Duration

	// InsecureTestingOnlyRootCAs replaces the system's certificates.
	InsecureTestingOnlyRootCAs *x509.CertPool
}

// NewClient returns the client for hostile hosts: it asks the host
// itself (no proxy), goes nowhere else (no redirects), judges every address,
// and keeps no connection, so that every fetch is judged. It sets no deadline
// for a whole request and no limit for its body: callers do.
func NewClient(c Config) *http.Client {
	dialer := &net.Dialer{Timeout: connectTimeout, Control: control(c.AllowPrivate)}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil,
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    connectTimeout,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.InsecureTestingOnlyRootCAs},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			ResponseHeaderTimeout:  cmp.Or(c.ReplyTimeout, replyTimeout),
			MaxResponseHeaderBytes: 16 << 10,
		},
	}
}

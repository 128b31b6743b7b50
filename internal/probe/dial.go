package probe

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"
)

const dialTimeout = 5 * time.Second

// Dial connects as a browser would: a name below localhost that nothing
// resolves is this machine (RFC 6761, section 6.3), as in the demo and in
// compose, where containers resolve it otherwise.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, network, address)
	if unknown, ok := errors.AsType[*net.DNSError](err); ok && unknown.IsNotFound {
		if host, port, split := net.SplitHostPort(address); split == nil && BelowLocalhost(host) {
			return d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		}
	}
	return conn, err
}

// BelowLocalhost reports whether a name ends in .localhost.
func BelowLocalhost(host string) bool { return strings.HasSuffix(host, ".localhost") }

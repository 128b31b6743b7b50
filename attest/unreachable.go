package attest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/athd/athd/egress"
)

// unreachable wraps why a document could not be read for the moment, as
// opposed to one that was read and is not good, or a host that says that it has
// none. Agents whose host is unreachable must not be answered that their
// attestation is invalid: they would discard good credentials.
type unreachable struct{ error }

func (u unreachable) Unwrap() error { return u.error }

func isUnreachable(err error) bool {
	_, is := errors.AsType[unreachable](err)
	return is
}

// away reports whether a status says that the host cannot answer now: any
// other that is not 200, 404 among them, is its answer.
func away(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status == http.StatusTooEarly
}

// transport classifies what keeps a document from being read. For the moment
// only are: no connection, none in time, one that ended before its time, and a
// name server that does not answer. All else stays as it is until somebody
// fixes it: an address that may not be connected to, a name that does not
// exist, a certificate or TLS that does not hold, what is no HTTP.
func transport(err error) error {
	bared := bare(err)
	if errors.Is(err, egress.ErrAddress) {
		return bared
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return bared
	}
	wire, cut := errors.AsType[*net.OpError](err)
	if cut && (wire.Op == "remote error" || wire.Op == "local error") { // an alert of TLS
		return bared
	}
	late, ok := errors.AsType[net.Error](err)
	if cut || ok && late.Timeout() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return unreachable{bared}
	}
	return bared
}

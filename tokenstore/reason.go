package tokenstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// replies has a fixed text for each error reply of the server. The server's own
// text may quote what was sent.
var replies = []struct{ code, words string }{
	{"NOAUTH", "the server wants a user or password, and the store's url has none"},
	{"WRONGPASS", "the server does not accept the store's user and password"},
	{"NOPERM", "the server's ACL forbids a command that athd needs"},
	{"OOM", "the server's memory is full (maxmemory)"},
	{"MISCONF", "the server cannot write to its disk"},
	{"NOREPLICAS", "the server has fewer replicas than min-replicas-to-write"},
	{"READONLY", "the server is a replica"},
	{"LOADING", "the server is loading its data"},
	{"MASTERDOWN", "the server is a replica that has lost its master"},
	{"CLUSTERDOWN", "the cluster is down, or a part of it"},
	{"TRYAGAIN", "the cluster is moving keys"},
	{"BUSY", "the server is busy with a script"},
	{"ERR max number of clients reached", "the server has as many clients as it allows (maxclients)"},
	{"ERR DB index is out of range", "the server has no database of this number"},
	{"ERR AUTH <password> called without any password configured", "the store's url has a password, and the server none"},
}

// Reason says why a verb failed, for an operator: one of a few fixed texts, which
// hold nothing that was sent or configured but the store's address.
func Reason(err error) string {
	if notMaster, ok := errors.AsType[*notMasterError](err); ok {
		return notMaster.Error()
	}
	if errors.Is(err, ErrOtherKeyset) {
		return ErrOtherKeyset.Error()
	}
	if errors.Is(err, errTooOld) {
		return "the server is too old: Redis 7 or newer is needed"
	}
	if reply, ok := errors.AsType[redis.Error](err); ok {
		for _, r := range replies {
			if hasCode(reply, r.code) {
				return r.words
			}
		}
		return "the server refuses"
	}
	if reason := networkReason(err); reason != "" {
		return reason
	}
	return "the store does not answer"
}

func networkReason(err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
		hostname x509.HostnameError
		verify   *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		lookup   *net.DNSError

		operation *net.OpError
	)
	switch {
	case errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &hostname), errors.As(err, &verify):
		return "the server's certificate is not one that athd may trust"
	case errors.As(err, &operation) && operation.Op == "remote error": // an alert
		return "the server ends the TLS handshake: it may want another client certificate"
	case errors.As(err, &record):
		return "the server does not speak TLS"
	case errors.As(err, &lookup):
		return "the server's host name does not resolve"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens at the store's address"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		// The client drops what a server sends before it closes a new connection.
		return "the server ends connections: it restarts, or has as many clients as it allows (maxclients)"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "the store does not answer in time"
	}
	return ""
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

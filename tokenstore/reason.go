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

// replies has a fixed text for each error reply of the server, and what an
// operator does about it. The server's own text may quote what was sent.
var replies = []struct{ code, words, cure string }{
	{"NOAUTH", "the server wants a user or password, and the store's url has none",
		"in athd.yaml, write the login into store.url: redis://USER:PASSWORD@HOST:PORT (or into the file of store.url_file)"},
	{"WRONGPASS", "the server does not accept the store's user and password",
		"in athd.yaml, correct store.url (or the file of store.url_file): redis://USER:PASSWORD@HOST:PORT, the password percent-encoded; or set the password at the server: redis-cli ACL SETUSER USER on '>PASSWORD'"},
	{"NOPERM", "the server's ACL forbids a command that athd needs",
		"redis-cli ACL SETUSER USER +COMMAND, for each that athctl doctor names"},
	{"OOM", "the server's memory is full (maxmemory)",
		"redis-cli CONFIG SET maxmemory BYTES; redis-cli INFO memory says how much is used"},
	{"MISCONF", "the server cannot write to its disk",
		"make room on the server's disk, then redis-cli BGSAVE; redis-cli INFO persistence says what failed"},
	{"NOREPLICAS", "the server has fewer replicas than min-replicas-to-write",
		"start the server's replicas, or redis-cli CONFIG SET min-replicas-to-write 0"},
	{"READONLY", "the server is a replica",
		"in athd.yaml, store.url: the master's address; redis-cli INFO replication names it"},
	{"LOADING", "the server is loading its data",
		"wait until it has; redis-cli INFO persistence says how long (loading_eta_seconds)"},
	{"MASTERDOWN", "the server is a replica that has lost its master",
		"in athd.yaml, store.url: the master's address; redis-cli INFO replication names it"},
	{"CLUSTERDOWN", "the cluster is down, or a part of it",
		"redis-cli --cluster check HOST:PORT says which slots have no master"},
	{"TRYAGAIN", "the cluster is moving keys", "wait until it has; redis-cli --cluster check HOST:PORT says whether it hangs"},
	{"BUSY", "the server is busy with a script", "redis-cli SCRIPT KILL"},
	{"ERR max number of clients reached", "the server has as many clients as it allows (maxclients)", moreClients},
	{"ERR DB index is out of range", "the server has no database of this number",
		"in athd.yaml, end store.url with the number of a database that there is, such as /0; redis-cli CONFIG GET databases says how many there are"},
	{"ERR AUTH <password> called without any password configured", "the store's url has a password, and the server none",
		"in athd.yaml, take the password out of store.url; or give the server one: redis-cli CONFIG SET requirepass PASSWORD"},
}

const moreClients = "redis-cli CONFIG SET maxclients 10000; redis-cli CLIENT LIST says who they are"

// Reason says why a verb failed, for an operator: one of a few fixed texts, which
// hold nothing that was sent or configured but the store's address.
func Reason(err error) string {
	words, _ := explain(err)
	return words
}

// Cure says what an operator does about it: a command, or a line of athd.yaml.
// It holds nothing that was sent or configured.
func Cure(err error) string {
	_, cure := explain(err)
	return cure
}

func explain(err error) (words, cure string) {
	if notMaster, ok := errors.AsType[*notMasterError](err); ok {
		return notMaster.Error(), "in athd.yaml, store.url: the master's address; or, where this server is to be the master: redis-cli REPLICAOF NO ONE"
	}
	if foreign, ok := errors.AsType[*foreignError](err); ok {
		return foreign.Error(), "in athd.yaml, store.keyset_file: the keyset that this Redis was written with (the other replicas' have it: athd keys status there says which keys they are); or store.url: a Redis, or a database of it, that is empty"
	}
	if errors.Is(err, errTooOld) {
		return "the server is too old: Redis 7 or newer is needed", "upgrade the server to Redis 7 or newer, or Valkey"
	}
	if reply, ok := errors.AsType[redis.Error](err); ok {
		for _, r := range replies {
			if hasCode(reply, r.code) {
				return r.words, r.cure
			}
		}
		return "the server refuses", "look into the server's log, and for the error in athd's"
	}
	return networkReason(err)
}

func networkReason(err error) (words, cure string) {
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
		return "the server's certificate is not one that athd may trust",
			"in athd.yaml, store.ca_file: the certificate of the CA that signed the server's; and in store.url the name that is in it"
	case errors.As(err, &operation) && operation.Op == "remote error": // an alert
		return "the server ends the TLS handshake: it may want another client certificate",
			"in athd.yaml, store.cert_file and store.key_file: a certificate that the server's tls-ca-cert-file signed"
	case errors.As(err, &record):
		return "the server does not speak TLS", "in athd.yaml, store.url: redis:// in place of rediss://; or give the server a tls-port"
	case errors.As(err, &lookup):
		return "the server's host name does not resolve", "in athd.yaml, correct the host in store.url; or give the name a DNS record"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens at the store's address", "start Redis there, such as redis-server or docker compose up -d redis; or correct store.url in athd.yaml"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		// The client drops what a server sends before it closes a new connection.
		return "the server ends connections: it restarts, or has as many clients as it allows (maxclients)",
			"in athd.yaml, store.url: rediss://, if the server speaks TLS; or " + moreClients
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "the store does not answer in time", "see whether a firewall is between, and whether the server is busy: redis-cli --latency -h HOST, redis-cli SLOWLOG GET; with rediss://, whether it speaks TLS"
	}
	return "the store does not answer", "redis-cli -h HOST -p PORT PING shows what a client sees"
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

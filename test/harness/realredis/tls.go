package realredis

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
)

// TLS are the files of a server that speaks TLS only. Its certificate must
// carry 127.0.0.1. With AuthClients each client must show one that the CA
// signed, as is redis-server's own default; Sentinels, replicas and the clients
// of this package show the server's.
type TLS struct {
	CertFile, KeyFile, CAFile string
	AuthClients               bool
}

// StartTLS is [Start] with TLS in place of plaintext.
func StartTLS(t testing.TB, files TLS, extra ...string) *Server {
	t.Helper()
	return start(t, Server{password: rand.Text(), extra: extra, tls: &files})
}

// client returns what a client of ours needs; nil for plaintext.
func (f *TLS) client(t testing.TB) *tls.Config {
	t.Helper()
	if f == nil {
		return nil
	}
	pem, err := os.ReadFile(f.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	cas := x509.NewCertPool()
	if !cas.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", f.CAFile)
	}
	c := &tls.Config{RootCAs: cas, MinVersion: tls.VersionTLS12}
	if f.AuthClients {
		pair, err := tls.LoadX509KeyPair(f.CertFile, f.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

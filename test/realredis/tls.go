package realredis

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
)

// TLS are the files of a server that speaks TLS only. Its certificate must
// carry 127.0.0.1; clients need none.
type TLS struct{ CertFile, KeyFile, CAFile string }

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
	return &tls.Config{RootCAs: cas, MinVersion: tls.VersionTLS12}
}

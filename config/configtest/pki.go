package configtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// A PKI is a CA, athd's certificate (127.0.0.1) and a client's (envoy), in PEM.
type PKI struct {
	CA, Cert, Key, ClientCert, ClientKey string

	caCert *x509.Certificate
	caKey  *ecdsa.PrivateKey
	t      testing.TB
}

// NewPKI makes all of them for a test; they hold for an hour.
func NewPKI(t testing.TB) *PKI {
	t.Helper()
	p := &PKI{t: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	var der []byte
	p.caKey, der = p.sign(template, template, nil)
	var err error
	if p.caCert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	p.CA = encode("CERTIFICATE", der)
	p.Cert, p.Key = p.Issue("athd", x509.ExtKeyUsageServerAuth)
	p.ClientCert, p.ClientKey = p.Issue("envoy", x509.ExtKeyUsageClientAuth)
	return p
}

// Issue returns another certificate of the CA, with its key, in PEM.
func (p *PKI) Issue(name string, usage x509.ExtKeyUsage) (cert, key string) {
	k, der := p.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, p.caCert, p.caKey)
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		p.t.Fatal(err)
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", raw)
}

// sign makes a key and its certificate; without a parent's key it signs itself.
func (p *PKI) sign(template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	if by == nil {
		by = k
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, k.Public(), by)
	if err != nil {
		p.t.Fatal(err)
	}
	return k, der
}

// Client returns the TLS of a client that trusts the CA and shows a certificate, if any.
func (p *PKI) Client(cert, key string) *tls.Config {
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AppendCertsFromPEM([]byte(p.CA))
	if cert != "" {
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			p.t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

package identityhosts

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
)

const (
	audience = "https://gw.example"
	domain   = "hosts.example" // every host has a name below it

	notPublic = "address is not public" // how the judge of addresses refuses
)

// A world is what hostile hosts stand in: their DNS, and an authority that
// certifies each of them.
type world struct {
	t           *testing.T
	dns         *nameServer
	authority   *x509.Certificate
	authorityBy *ecdsa.PrivateKey
	roots       *x509.CertPool
	everywhere  bool          // every address is this machine's own, and seen
	otherPorts  []*listener   // where redirects would lead
	turns       chan struct{} // see turn
	settings    *tls.Config   // of honest hosts
	count       atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dns: newNameServer(t), roots: x509.NewCertPool(), authorityBy: newKey(t), turns: make(chan struct{}, 4)}
	w.authority = w.certify(t, &w.authorityBy.PublicKey, nil, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.DNSNames = true, true, x509.KeyUsageCertSign, nil
	})
	w.roots.AddCert(w.authority)
	w.settings = w.tls(t, nil)
	w.dns.add("localhost", at("127.0.0.1", "::1"))
	if probe, err := net.Listen("tcp", "93.184.215.14:0"); err == nil {
		probe.Close()
		w.everywhere = true
		for _, port := range []string{"80", "443"} {
			l := listen(t, "0.0.0.0:"+port, "[::]:"+port)
			go l.serve(func(conn net.Conn) { conn.Close() })
			w.otherPorts = append(w.otherPorts, l)
		}
	}
	return w
}

// turn waits until few others are busy. Cases that work take one, so that
// none of them meets a deadline because of the others; those that only wait
// for a deadline do not, so that they all wait at the same time.
func (w *world) turn(t *testing.T) {
	w.turns <- struct{}{}
	t.Cleanup(func() { <-w.turns })
}

// name returns a name that nobody had yet.
func (w *world) name() string { return fmt.Sprintf("agent-%d.%s", w.count.Add(1), domain) }

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certify signs a certificate for every host's name, changed by edit. Without
// an authority (there is none for its own certificate) it is self-signed.
func (w *world) certify(t testing.TB, key *ecdsa.PublicKey, authority *x509.Certificate, edit func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(w.count.Add(1)), Subject: pkix.Name{CommonName: "identity hosts"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: []string{"*." + domain},
	}
	if edit != nil {
		edit(template)
	}
	if authority == nil {
		authority = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, key, w.authorityBy)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// tls returns a server's configuration with a certificate of our authority,
// changed by edit.
func (w *world) tls(t testing.TB, edit func(*x509.Certificate)) *tls.Config {
	t.Helper()
	key := newKey(t)
	certificate := w.certify(t, &key.PublicKey, w.authority, edit)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}}}
}

// verifier returns a verifier as athd runs it, but for the authority, and with
// AllowPrivateHosts if development.
func (w *world) verifier(t testing.TB, s *shared, development bool) *attest.Verifier {
	t.Helper()
	v, err := attest.New(attest.Config{Once: s.once, Now: s.now, AllowPrivateHosts: development, InsecureTestingOnlyRootCAs: w.roots})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A shared is what replicas have in common: a clock that stands still, and a
// store that keeps what it was told for as long as it was told.
type shared struct {
	mu    sync.Mutex
	time  time.Time
	until map[string]time.Time
}

func newShared() *shared { return &shared{time: time.Now(), until: map[string]time.Time{}} }

func (s *shared) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.time
}

func (s *shared) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.time = s.time.Add(d)
}

func (s *shared) once(_ context.Context, agent ath.AgentID, what, value string, ttl time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.Join([]string{agent.String(), what, value}, "\n")
	if s.time.Before(s.until[key]) {
		return false, nil
	}
	s.until[key] = s.time.Add(ttl)
	return true, nil
}

// spent reports whether a jti was recorded.
func (s *shared) spent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.until {
		if strings.Contains(key, "\njti\n") {
			return true
		}
	}
	return false
}

// outcome puts a verdict into words: "accepted", "refused: why", or "away: why"
// where nothing was read (F-23). Anything
// but a refusal for the document's or the signature's sake is a failure.
func outcome(t testing.TB, identity *attest.Identity, err error) string {
	t.Helper()
	if err == nil {
		if identity == nil || identity.Name == "" {
			t.Error("accepted without an identity")
		}
		return "accepted"
	}
	refusal, ok := errors.AsType[*attest.Error](err)
	if !ok || identity != nil || refusal.Reason != attest.Document && refusal.Reason != attest.Signature && refusal.Reason != attest.Unreachable {
		t.Errorf("got %v, %v: not a refusal for the document's sake", identity, err)
	}
	if refusal.Reason == attest.Unreachable {
		return "away: " + err.Error()
	}
	why := strings.TrimPrefix(err.Error(), fmt.Sprintf("attestation refused (%s): ", attest.Document))
	return "refused: " + strings.TrimPrefix(why, "no identity document: ")
}

// asWanted compares an outcome with what a table wants: for a refusal, words
// of its reason.
func asWanted(got, want string) bool {
	for _, verdict := range []string{"refused: ", "away: "} {
		if why, is := strings.CutPrefix(want, verdict); is {
			return strings.HasPrefix(got, verdict) && strings.Contains(got, why)
		}
	}
	return got == want
}

func addresses(list ...string) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, s := range list {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}

// needsNamespace is for cases that connect to an address which is ours in a
// namespace only. Where none can be made it fails, unless ATHD_TEST_SKIP names
// netns.
func (w *world) needsNamespace(t *testing.T) {
	t.Helper()
	switch {
	case w.everywhere:
	case strings.Contains(os.Getenv("ATHD_TEST_SKIP"), "netns"):
		t.Skip("ATHD_TEST_SKIP names netns")
	default:
		t.Fatal("no network namespace can be made here: allow unprivileged user namespaces, or name netns in ATHD_TEST_SKIP")
	}
}

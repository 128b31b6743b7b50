package egress_test

import (
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/athd/athd/egress"
)

// proves: A-7
func TestAClientGoesWhereItsPolicyLetsIt(t *testing.T) {
	serve := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	plain, secure := httptest.NewServer(serve), httptest.NewTLSServer(serve)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	except := func(server *httptest.Server, http bool) egress.Policy {
		at := netip.MustParseAddrPort(server.Listener.Addr().String())
		return egress.Policy{Allow: []egress.Exception{{Addresses: netip.PrefixFrom(at.Addr(), 32), Port: at.Port(), HTTP: http}}}
	}
	for name, tt := range map[string]struct {
		policy        egress.Policy
		secure, plain bool
	}{
		"the Internet only":            {egress.Policy{}, false, false},
		"development, private":         {egress.Policy{AllowPrivate: true}, true, false},
		"development, in the clear":    {egress.Policy{AllowHTTP: true}, false, false},
		"development, both":            {egress.Policy{AllowPrivate: true, AllowHTTP: true}, true, true},
		"the TLS port":                 {except(secure, false), true, false},
		"the plain port, by TLS alone": {except(plain, false), false, false},
		"the plain port":               {except(plain, true), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := egress.NewClient(egress.Config{Policy: tt.policy, InsecureTestingOnlyRootCAs: roots})
			for url, want := range map[string]bool{secure.URL: tt.secure, plain.URL: tt.plain} {
				res, err := c.Get(url)
				if res != nil {
					res.Body.Close()
				}
				if (err == nil) != want || err != nil && !errors.Is(err, egress.ErrAddress) {
					t.Errorf("%s: %v", url, err)
				}
			}
		})
	}
}

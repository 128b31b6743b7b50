package walk

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// The consent pages have their host for themselves, through a real Envoy whose
// app takes any host and serves people without a token.
// S-5
func TestConsentHostServesNothingElse(t *testing.T) {
	t.Parallel()
	for _, destination := range []string{"route", "host_and_path"} {
		t.Run(destination, func(t *testing.T) {
			t.Parallel()
			s := stage.Start(t, stage.Options{
				Embedded: true, ConsentHost: "consent.example", Unauthenticated: "passthrough", Destination: destination,
			})
			_, port, _ := strings.Cut(s.Host(), ":")
			at := func(host, target string) reply {
				return raw(t, s, "GET "+target+" HTTP/1.1", "Host: "+host, "Connection: close", "", "")
			}
			for _, host := range []string{"consent.example", "consent.example:" + port, "CONSENT.example", "consent.example."} {
				for _, target := range []string{
					"/", "/products/1", "/health", "/.well-known/ath.json", "/.well-known/ath-app.json", "/ath/token", "/ath/authorize",
					"/ath/agents/register", "/ath/admin/agents", "/ath/proxy/gallery/pictures/1", "/ath/proxy/shop/", "/ath/consent/other", "/ath/consent/",
					"/ath/consent/start/..%2f..%2f..%2f", "/ath/consent/../../products/1",
				} {
					before := s.App.Hits()
					r := at(host, target)
					if r.status != 404 && r.status != 400 || !strings.Contains(r.header.Get("Content-Type"), "application/json") || r.code() == "" {
						t.Errorf("%s at %s: %d %s", target, host, r.status, r.body)
					}
					if s.App.Hits() != before {
						t.Errorf("%s at %s reached the app", target, host)
					}
				}
				if r := at(host, "/ath/consent/start?state=x"); r.status != 400 || !strings.Contains(r.body, "STATE_MISMATCH") {
					t.Errorf("the page at %s: %d %s", host, r.status, r.body)
				}
				if r := at(host, "/ath/callback?state=x"); r.status != 400 || !strings.Contains(r.body, "STATE_MISMATCH") {
					t.Errorf("the callback at %s: %d %s", host, r.status, r.body)
				}
			}
			for _, host := range []string{s.Host(), "localhost", "x.consent.example", "any.example"} {
				for _, target := range []string{"/ath/consent/start?state=x", "/ath/consent/decide", "/ath/consent/done?state=x"} {
					if r := at(host, target); r.status != 404 || r.code() != "NOT_FOUND" {
						t.Errorf("%s at %s: %d %s", target, host, r.status, r.body)
					}
				}
				if r := at(host, "/ath/callback?state=x&code=y"); r.status != http.StatusSeeOther || r.header.Get("Location") != s.ConsentURL+"/ath/callback?state=x&code=y" {
					t.Errorf("the callback at %s: %d %v", host, r.status, r.header)
				}
				if r := at(host, "/products/1"); r.status != 200 {
					t.Errorf("the app at %s: %d", host, r.status)
				}
			}
		})
	}
}

// Each host of Envoy has a certificate of its own, and the name that a client
// asks for chooses.
func TestEachHostHasItsCertificate(t *testing.T) {
	t.Parallel()
	s := stage.Start(t, stage.Options{Embedded: true, TLS: true, Host: "gateway.example", ConsentHost: "consent.example"})
	addr := s.Envoy.Addr("public")
	for name, want := range map[string]string{"gateway.example": "gateway.example", "consent.example": "consent.example", "other.example": "gateway.example"} {
		c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, RootCAs: s.Authority.Pool(), InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.ConnectionState().PeerCertificates[0].VerifyHostname(want); err != nil {
			t.Errorf("asked for %s: %v", name, err)
		}
		c.Close()
	}
}

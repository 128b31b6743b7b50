package provider

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/egress"
)

// nameServer answers every question for an IPv4 address with one.
func nameServer(t *testing.T, answer netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n < 17 {
				continue
			}
			end := 12
			for end < n && buf[end] != 0 {
				end += int(buf[end]) + 1
			}
			end += 5
			reply := append([]byte{buf[0], buf[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, buf[12:end]...)
			if binary.BigEndian.Uint16(buf[end-4:]) == 1 {
				reply[7] = 1
				reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				reply = append(reply, answer.AsSlice()...)
			}
			conn.WriteTo(reply, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
}

// proves: A-7
//
// Whatever a name of a provider that was added at run time resolves to when it is
// dialled, and whoever named it, athd does not call its own network.
func TestOAuthCallsOfRuntimeProvidersAreJudgedWhenTheyDial(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/token":
			fmt.Fprint(w, `{"access_token": "a-token", "token_type": "bearer", "refresh_token": "r"}`)
		case "/userinfo":
			fmt.Fprint(w, `{"sub": "u"}`)
		}
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	at := netip.MustParseAddrPort(server.Listener.Addr().String())
	port := fmt.Sprint(at.Port())
	base := "https://example.com:" + port // the certificate's name

	p, faults := ParseOne("", shopDocument(t, map[string]any{
		"token_endpoint": base + "/token", "userinfo_endpoint": base + "/userinfo", "revocation_endpoint": base + "/revoke", "api_base_url": base,
	}), Options{})
	if faults != nil {
		t.Fatal(faults)
	}
	issued, faults := ParseOne("", shopDocument(t, map[string]any{"issuer": base, "token_endpoint": nil, "authorize_endpoint": nil, "api_base_url": base}), Options{})
	if faults != nil {
		t.Fatal(faults)
	}
	secret := ath.NewSecret("a-secret-of-a-test")
	calls := map[string]func(*Client) error{
		"token": func(c *Client) error {
			_, err := c.Exchange(t.Context(), p, Redemption{Code: secret, Verifier: secret, RedirectURI: "https://gw.example/ath/callback"})
			return err
		},
		"refresh": func(c *Client) error {
			_, err := c.RefreshTokens(t.Context(), p, secret, nil)
			return err
		},
		"userinfo": func(c *Client) error {
			_, err := c.userinfo(t.Context(), p, secret, "")
			return err
		},
		"revocation": func(c *Client) error {
			_, err := c.RevokeTokens(t.Context(), p, secret, secret, true)
			return err
		},
		"metadata": func(c *Client) error {
			_, err := c.Metadata(t.Context(), issued)
			return err
		},
		"keys": func(c *Client) error {
			res, err := c.openIDClient(p).Get(base + "/keys")
			if err == nil {
				res.Body.Close()
			}
			return err
		},
	}
	for _, answer := range []string{"127.0.0.1", "169.254.169.254", "10.0.0.1", "100.64.0.1"} {
		for name, call := range calls {
			asked.Store(0)
			c := NewClient(ClientConfig{
				AllowHTTP: true, AllowPrivate: true, // of development: what files name; not what is added at run time
				InsecureTestingOnlyRootCAs: roots, TestingOnlyResolver: nameServer(t, netip.MustParseAddr(answer)),
			})
			err := call(c)
			if err == nil || asked.Load() > 0 || !strings.Contains(err.Error()+fmt.Sprint(errors.Unwrap(err)), "not public") && name != "metadata" {
				t.Errorf("%s at a name that resolves to %s: %v, asked %d times", name, answer, err, asked.Load())
			}
		}
	}
	except := egress.Policy{Allow: []egress.Exception{{Addresses: netip.PrefixFrom(at.Addr(), 32), Port: at.Port()}}}
	for name, call := range calls {
		asked.Store(0)
		c := NewClient(ClientConfig{Egress: except, InsecureTestingOnlyRootCAs: roots, TestingOnlyResolver: nameServer(t, at.Addr())})
		if err := call(c); asked.Load() == 0 {
			t.Errorf("%s where egress.allow has the address: %v, asked %d times", name, err, asked.Load())
		}
		// Envoy listens there by now, and until it is told otherwise also later.
		own := except
		own.Own = []egress.Listener{{Addr: at.Addr(), Port: at.Port()}}
		for _, policy := range []egress.Policy{own, except} {
			c.UseEgress(policy)
			asked.Store(0)
			if err := call(c); err == nil || asked.Load() > 0 {
				t.Errorf("%s at a listener of Envoy's: %v, asked %d times", name, err, asked.Load())
			}
		}
	}
}

// proves: A-7
func TestARuntimeProvidersServerLeadsNowhereElse(t *testing.T) {
	var followed atomic.Bool
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			followed.Store(true)
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	policy := egress.Policy{AllowPrivate: true}
	p, faults := ParseOne("", shopDocument(t, map[string]any{"token_endpoint": server.URL + "/token"}), Options{Egress: policy})
	if faults != nil {
		t.Fatal(faults)
	}
	c := NewClient(ClientConfig{Egress: policy, InsecureTestingOnlyRootCAs: roots})
	_, err := c.RefreshTokens(t.Context(), p, ath.NewSecret("a-refresh-token"), nil)
	if err == nil || followed.Load() {
		t.Errorf("%v, followed: %v", err, followed.Load())
	}
}

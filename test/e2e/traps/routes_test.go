package traps

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"

	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/envoy/server"
	"github.com/athd/athd/test/harness/asked"
	"github.com/athd/athd/test/harness/realenvoy"
)

func TestGeneratedRoutesLeadWhereTheyShould(t *testing.T) {
	r := newRig(t)
	const companion, app, nobody = "companion", "app", ""
	tests := []struct {
		name, host, path string
		token            string // for which provider; "": no token
		where            string
		status           int
	}{
		{"D-1: discovery", "gw.example", "/.well-known/ath.json", "", companion, 200},
		{"D-2: an app's discovery", "shop.example", "/.well-known/ath-app.json", "", companion, 200},
		{"the handshake", "gw.example", "/ath/authorize", "", companion, 200},
		{"the callback", "shop.example", "/ath/callback?code=1", "", companion, 200},
		{"the agents", "gw.example", "/ath/agents/register", "", companion, 200},
		{"the admin API", "gw.example", "/ath/admin/providers", "", companion, 200},
		{"the consent pages", "gw.example", "/ath/consent/start?x", "", companion, 200},
		{"D-4: health on a host where no app owns /", "shop.example", "/health", "", companion, 200},
		{"D-4: health of an app that owns /", "gw.example", "/health", "app", app, 200},
		{"the rest of /ath is nobody's", "gw.example", "/ath/other", "app", nobody, 404},
		{"/ath itself", "gw.example", "/ath", "app", nobody, 404},
		{"a longer word is not /ath", "gw.example", "/athlete", "app", app, 200},
		{"an app's prefix", "shop.example", "/shop/cart", "shop", app, 200},
		{"an app's prefix itself", "shop.example", "/shop", "shop", app, 200},
		{"a longer word is not the prefix", "shop.example", "/shopping", "shop", nobody, 404},
		{"a port does not matter", "shop.example:8080", "/shop/cart", "shop", app, 200},
		{"a trailing dot does not matter", "shop.example.", "/shop/cart", "shop", app, 200},
		{"another host is the app's without hosts", "other.example", "/shop/cart", "app", app, 200},
		{"another host's app does not take the token", "other.example", "/shop/cart", "shop", nobody, 403},
		{"an app under its mount, on any host", "shop.example", "/ath/proxy/app/x", "app", app, 200},
		{"capitals fall to the app and are checked", "gw.example", "/ATH/proxy/app/x", "", nobody, 401},
		{"no token", "gw.example", "/x", "", nobody, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.play(askReal)
			request := strings.Replace(r.h1(tt.token, "GET", tt.path, "Cookie: __Host-ath=1", "X-ATH-User-Token: admin"), "gw.example", tt.host, 1)
			if tt.token == "" {
				request = strings.Replace(request, "Authorization: Bearer "+ath.TokenPrefix, "X-Nothing: ", 1)
			}
			response, body := r.rawH1(request)
			if response.StatusCode != tt.status {
				t.Errorf("%s: %s", response.Status, body)
			}
			atCompanion, atApp := r.companion.take(), r.plain.take()
			if (len(atCompanion) == 1) != (tt.where == companion) || (len(atApp) == 1) != (tt.where == app) {
				t.Errorf("companion saw %d, app saw %d", len(atCompanion), len(atApp))
			}
			if tt.where == companion {
				h := atCompanion[0].header
				if h.Get("Cookie") == "" || h.Get("X-Ath-User-Token") == "" || h.Get("Host") != tt.host {
					t.Errorf("the companion saw %v", h)
				}
				if n := len(r.judged()); n != 0 {
					t.Errorf("the companion's page was checked %d times", n)
				}
			}
		})
	}
	t.Run("an API that is reached by name, over TLS", func(t *testing.T) {
		r.play(askReal)
		if response, body := r.rawH1(r.h1("named", "GET", "/ath/proxy/named/x")); response.StatusCode != 200 {
			t.Fatalf("%s: %s", response.Status, body)
		}
		if got := r.tls.take(); len(got) != 1 || got[0].header.Get("Host") != "localhost:"+port(r.tls.addr) {
			t.Errorf("the API saw %+v", got)
		}
	})
}

// TLS everywhere: from the agent, to athd, to the API.
func TestTLSFromAgentToAPI(t *testing.T) {
	serve := func(allowed string) func(*rig, *bootstrap.Config) {
		return func(r *rig, c *bootstrap.Config) {
			certFile, keyFile := r.authority.Issue("127.0.0.1", "envoy.mesh")
			c.PublicURL = "https://127.0.0.1"
			c.ListenTLS = []bootstrap.TLSFiles{{CertFile: certFile, KeyFile: keyFile}}
			c.AthdTLS = &bootstrap.ClientTLSFiles{CertFile: certFile, KeyFile: keyFile, CAFile: r.authority.CAFile, ServerName: "athd.mesh"}
			s := asked.New(r.t, server.Config{
				Logger: quiet, ClientSANs: []string{allowed},
				TLS: &tls.Config{
					Certificates: []tls.Certificate{r.authority.Certificate("athd.mesh")},
					ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: r.authority.Pool(),
				},
			}, r.decider(c.Providers))
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				r.t.Fatal(err)
			}
			go s.Serve(l)
			r.t.Cleanup(func() {
				over, cancel := context.WithCancel(context.Background())
				cancel()
				s.Shutdown(over)
			})
			c.Authz = []string{l.Addr().String()}
		}
	}
	get := func(t *testing.T, r *rig, roots *realenvoy.Authority) (*http.Response, error) {
		t.Helper()
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots.Pool()}, ForceAttemptHTTP2: true,
		}}
		t.Cleanup(client.CloseIdleConnections)
		q := r.request("tls", "GET", "/ath/proxy/tls/x", nil)
		q.URL.Scheme = "https"
		return client.Do(q)
	}
	t.Run("all certificates fit", func(t *testing.T) {
		r := newRig(t, serve("envoy.mesh"))
		response, err := get(t, r, r.authority)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != 200 || response.ProtoMajor != 2 {
			t.Errorf("%s over %s", response.Status, response.Proto)
		}
	})
	t.Run("athd does not know this Envoy", func(t *testing.T) {
		r := newRig(t, serve("another.mesh"))
		response, err := get(t, r, r.authority)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != 503 || len(r.tls.take()) > 0 {
			t.Errorf("%s", response.Status)
		}
	})
	t.Run("athd is not who it should be", func(t *testing.T) {
		r := newRig(t, serve("envoy.mesh"), func(_ *rig, c *bootstrap.Config) { c.AthdTLS.ServerName = "other.mesh" })
		response, err := get(t, r, r.authority)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != 503 {
			t.Errorf("%s", response.Status)
		}
	})
}

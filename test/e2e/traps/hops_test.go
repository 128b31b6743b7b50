package traps

import (
	"cmp"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/envoy/bootstrap"
)

// What stands in front of Envoy ends TLS: the app is told how it is reached, so
// that one which leads http to https does not do so for ever.
// F-15
func TestAppsAreToldThePublicScheme(t *testing.T) {
	public := func(url string, hops int) func(*rig, *bootstrap.Config) {
		return func(_ *rig, c *bootstrap.Config) { c.PublicURL, c.TrustedHops = url, hops }
	}
	for _, tt := range []struct {
		name   string
		change func(*rig, *bootstrap.Config)
		sent   string // X-Forwarded-Proto
		want   string
	}{
		{"https, and nothing is said", public("https://gw.example", 0), "", "https"},
		{"https, and the client says http", public("https://gw.example", 0), "http", "https"},
		{"http", public("http://gw.example", 0), "", "http"},
		{"http, and the client says https", public("http://gw.example", 0), "https", "http"},
		{"a trusted proxy says https", public("https://gw.example", 1), "https", "https"},
		{"a trusted proxy says http", public("https://gw.example", 1), "http", "http"},
		{"a trusted proxy says nothing", public("https://gw.example", 1), "", "https"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.change)
			for target, provider := range map[string]string{"/x": "app", "/ath/proxy/app/x": "app"} {
				r.play(askReal)
				q := r.request(provider, "GET", target, nil)
				q.Host = "gw.example"
				if tt.sent != "" {
					q.Header.Set("X-Forwarded-Proto", tt.sent)
				}
				if response, body := r.do(q); response.StatusCode != 200 {
					t.Fatalf("%s: %s", response.Status, body)
				}
				if got := r.plain.take()[0].header.Values("X-Forwarded-Proto"); len(got) != 1 || got[0] != tt.want {
					t.Errorf("%s: the app is told %q, want %q", target, got, tt.want)
				}
			}
		})
	}
}

// The address that counts is the client's, by the word of as many proxies as
// the operator named, and of none by default.
// S-10
func TestTheClientsAddressIsTheOneThatTrustedProxiesTell(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hops  int
		sent  string
		want  string // "": the connection's own
		toApp string
	}{
		{"nobody is trusted", 0, "198.51.100.66", "", ""},
		{"one proxy", 1, "203.0.113.7", "203.0.113.7", "203.0.113.7"},
		{"one proxy, and the client claims to be another", 1, "198.51.100.66, 203.0.113.7", "203.0.113.7", "198.51.100.66,203.0.113.7"},
		{"two proxies", 2, "203.0.113.7, 10.0.0.2", "203.0.113.7", "203.0.113.7,10.0.0.2"},
		{"around the proxy", 1, "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, c *bootstrap.Config) { c.TrustedHops = tt.hops })
			r.play(askReal)
			header := http.Header{}
			if tt.sent != "" {
				header.Set("X-Forwarded-For", tt.sent)
			}
			send := func(target string) string {
				q := r.request("app", "GET", target, nil)
				maps.Copy(q.Header, header)
				response, body := r.do(q)
				if response.StatusCode != 200 {
					t.Fatalf("%s: %s", response.Status, body)
				}
				return response.Status
			}
			send("/x")
			checks := r.judged()
			source := cmp.Or(tt.want, checks[0].GetAttributes().GetSource().GetAddress().GetSocketAddress().GetAddress())
			if net.ParseIP(source) == nil {
				t.Errorf("athd is told %q", source)
			}
			from := strings.ReplaceAll(strings.Join(r.plain.take()[0].header.Values("X-Forwarded-For"), ","), " ", "")
			if !strings.HasPrefix(from, tt.toApp) || strings.Contains(from, "198.51.100.66") != strings.Contains(tt.toApp, "198.51.100.66") {
				t.Errorf("the app is told %q", from)
			}
			send("/ath/token")
			if got := r.companion.take()[0].header.Values("X-Forwarded-For"); len(got) != 1 || strings.HasSuffix(got[0], "198.51.100.66") || tt.want != "" && got[0] != tt.want {
				t.Errorf("the companion is told %q", got)
			}
			r.envoy.WaitAccessLog(`"client":"`+source+`"`, `"app_app"`)
		})
	}
}

// Who an agent's call is from, an API hears from athd only.
// S-15
func TestNoAgentSaysWhoSomebodyIs(t *testing.T) {
	t.Run("where an app is open to people", func(t *testing.T) {
		noAgentSaysWhoSomebodyIs(t, newRig(t, func(r *rig, _ *bootstrap.Config) { r.set.Get("shop").App.Passthrough = true }), true)
	})
	t.Run("where none is", func(t *testing.T) { noAgentSaysWhoSomebodyIs(t, newRig(t), false) })
}

func noAgentSaysWhoSomebodyIs(t *testing.T, r *rig, open bool) {
	noise := []string{
		"X-Forwarded-User: root", "X-Forwarded-Email: root@example.com", "X-Forwarded-Groups: admin", "X-Forwarded-Access-Token: t",
		"X-Forwarded-Preferred-Username: root", "X-Auth-Request-User: root", "X-Auth-Request-Groups: admin", "X-Remote-User: root",
		"Remote-User: root", "X-Client-Cert: c", "X-Forwarded-Client-Cert: c", "X-Goog-Authenticated-User-Email: root", "SSL-Client-Verify: SUCCESS",
		"X-Amzn-Oidc-Identity: root", "CF-Access-Authenticated-User-Email: root", "Tailscale-User-Login: root", "X-MS-CLIENT-PRINCIPAL-NAME: root",
		"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
	}
	tell := func(lines string) map[string]bool {
		r.play(askReal)
		if response, body := r.rawH1(lines); response.StatusCode != 200 {
			t.Fatalf("%s: %s", response.Status, body)
		}
		got := map[string]bool{}
		for name := range r.plain.take()[0].header {
			got[http.CanonicalHeaderKey(name)] = true
		}
		return got
	}
	mustNot := func(t *testing.T, got map[string]bool) {
		for _, line := range noise {
			name, _, _ := strings.Cut(line, ":")
			if got[http.CanonicalHeaderKey(name)] {
				t.Errorf("the API is told %s", name)
			}
		}
	}
	t.Run("a provider", func(t *testing.T) { mustNot(t, tell(r.h1("plain", "GET", "/ath/proxy/plain/x", noise...))) })
	t.Run("an app", func(t *testing.T) { mustNot(t, tell(r.h1("app", "GET", "/x", noise...))) })
	onShop := func(text string) string { return strings.Replace(text, "gw.example", "shop.example", 1) }
	if !open {
		return
	}
	t.Run("an app that people share", func(t *testing.T) {
		mustNot(t, tell(onShop(r.h1("shop", "GET", "/shop/x", noise...))))
	})
	t.Run("of people it stays", func(t *testing.T) {
		got := tell("GET /shop/x HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\nX-Forwarded-User: alice\r\nX-Auth-Request-Email: a@example.com\r\n\r\n")
		if !got["X-Forwarded-User"] || !got["X-Auth-Request-Email"] {
			t.Errorf("the app is told %v", got)
		}
	})
}

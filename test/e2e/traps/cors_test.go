package traps

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/envoy/bootstrap"
)

const (
	scriptOrigin  = "https://app.example"
	foreignOrigin = "https://app.example.evil.example"
	consentHost   = "consent.example"
)

// fromOrigin sends a request of a script's, without a token.
func (r *rig) fromOrigin(origin, method, host, target string, lines ...string) *http.Response {
	r.t.Helper()
	text := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nOrigin: " + origin + "\r\n"
	for _, line := range lines {
		text += line + "\r\n"
	}
	response, _ := r.rawH1(text + "\r\n")
	return response
}

// preflight is what a browser asks before a call of a script's (Fetch, CORS-preflight).
func (r *rig) preflight(origin, host, target string) *http.Response {
	r.t.Helper()
	return r.fromOrigin(origin, "OPTIONS", host, target,
		"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type,x-ath-agent-id")
}

// accessControl is what a reply tells browsers of other origins.
func accessControl(response *http.Response) map[string]string {
	out := map[string]string{}
	for name := range response.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			out[name] = strings.Join(response.Header.Values(name), " | ")
		}
	}
	return out
}

// What agents in browsers ask, each on its host.
var forScripts = map[string][2]string{
	"discovery":                   {"gw.example", "/.well-known/ath.json"},
	"an app's discovery":          {"gw.example", "/.well-known/ath-app.json"},
	"registration":                {"gw.example", "/ath/agents/register"},
	"authorize":                   {"gw.example", "/ath/authorize"},
	"token":                       {"gw.example", "/ath/token"},
	"revoke":                      {"gw.example", "/ath/revoke"},
	"a proxied call":              {"gw.example", "/ath/proxy/plain/x?q=1"},
	"a provider that there isn't": {"gw.example", "/ath/proxy/nobody/x"},
	"an app below its mount":      {"gw.example", "/ath/proxy/app/x"},
	"a native call":               {"gw.example", "/x"},
	"a native call below a path":  {"shop.example", "/shop/x"},
	"the handshake on any host":   {"shop.example", "/ath/token"},
}

// What is for no script of another origin.
var notForScripts = map[string][2]string{
	"a callback":                       {"gw.example", "/ath/callback"},
	"a provider's callback":            {"gw.example", "/ath/callback/plain"},
	"the operators' door":              {"gw.example", "/ath/admin/agents"},
	"the operators' door, by dots":     {"gw.example", "/ath/agents/../admin/agents"},
	"consent pages":                    {"gw.example", "/ath/consent/start"},
	"the rest of the handshake":        {"gw.example", "/ath/other"},
	"consent pages on their host":      {consentHost, "/ath/consent/start"},
	"a decision":                       {consentHost, "/ath/consent/decide"},
	"a callback there":                 {consentHost, "/ath/callback"},
	"the token endpoint there":         {consentHost, "/ath/token"},
	"a proxied call there":             {consentHost, "/ath/proxy/plain/x"},
	"consent pages there, with a port": {consentHost + ":8080", "/ath/consent/start"},
}

func withOrigins(apart bool) func(*rig, *bootstrap.Config) {
	return func(_ *rig, c *bootstrap.Config) {
		c.AllowedOrigins = []string{"http://localhost:3000", scriptOrigin}
		if apart {
			c.ConsentURL = "http://" + consentHost + ":8080"
		}
	}
}

// F-20
func TestScriptsOfAllowedOriginsMayCall(t *testing.T) {
	for name, apart := range map[string]bool{"consent pages apart": true, "one host": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, withOrigins(apart))
			r.play(askReal)
			want := map[string]string{
				"Access-Control-Allow-Origin":  scriptOrigin,
				"Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
				"Access-Control-Allow-Headers": "authorization, content-type, x-ath-agent-id",
				"Access-Control-Max-Age":       "600",
				// Nothing to a preflight; Envoy says it to all.
				"Access-Control-Expose-Headers": "www-authenticate, retry-after, x-ath-decision-id",
			}
			for what, at := range forScripts {
				t.Run(what, func(t *testing.T) {
					r.play(askReal)
					response := r.preflight(scriptOrigin, at[0], at[1])
					if got := accessControl(response); response.StatusCode != 200 || !maps.Equal(got, want) {
						t.Errorf("%s %v", response.Status, got)
					}
					if n := len(r.judged()) + len(r.plain.take()) + len(r.companion.take()); n > 0 {
						t.Error("a preflight went on to athd or an API")
					}
					for _, origin := range []string{foreignOrigin, "null", "http://app.example", scriptOrigin + ":8443", "https://evil-app.example"} {
						if got := accessControl(r.preflight(origin, at[0], at[1])); len(got) > 0 {
							t.Errorf("preflight of %s: %v", origin, got)
						}
						if got := accessControl(r.fromOrigin(origin, "GET", at[0], at[1])); len(got) > 0 {
							t.Errorf("GET of %s: %v", origin, got)
						}
					}
				})
			}
			for what, at := range notForScripts {
				t.Run("not "+what, func(t *testing.T) {
					if got := accessControl(r.preflight(scriptOrigin, at[0], at[1])); len(got) > 0 && (apart || at[0] == "gw.example") {
						t.Errorf("preflight: %v", got)
					}
					if got := accessControl(r.fromOrigin(scriptOrigin, "GET", at[0], at[1])); len(got) > 0 && (apart || at[0] == "gw.example") {
						t.Errorf("GET: %v", got)
					}
				})
			}
			r.play(askReal)
			r.repliesAreReadable(t)
		})
	}
}

// repliesAreReadable wants replies and refusals to tell the origin, and what a
// client has to read of them.
func (r *rig) repliesAreReadable(t *testing.T) {
	want := map[string]string{
		"Access-Control-Allow-Origin":   scriptOrigin,
		"Access-Control-Expose-Headers": "www-authenticate, retry-after, x-ath-decision-id",
	}
	readable := func(t *testing.T, response *http.Response, status int) {
		t.Helper()
		if got := accessControl(response); response.StatusCode != status || !maps.Equal(got, want) {
			t.Errorf("%s %v", response.Status, got)
		}
	}
	t.Run("a refusal of a proxied call", func(t *testing.T) {
		response := r.fromOrigin(scriptOrigin, "GET", "gw.example", "/ath/proxy/plain/x")
		readable(t, response, 401)
		if response.Header.Get("X-Ath-Decision-Id") == "" || response.Header.Get("Www-Authenticate") == "" {
			t.Errorf("%v", response.Header)
		}
	})
	t.Run("a refusal of a native call", func(t *testing.T) {
		readable(t, r.fromOrigin(scriptOrigin, "GET", "gw.example", "/x"), 401)
	})
	t.Run("a reply of athd's", func(t *testing.T) {
		readable(t, r.fromOrigin(scriptOrigin, "POST", "gw.example", "/ath/token", "Content-Length: 0"), 200)
	})
	for provider, target := range map[string]string{"plain": "/ath/proxy/plain/cors", "app": "/cors"} {
		t.Run("a reply of an API to "+target, func(t *testing.T) {
			response, _ := r.rawH1(r.h1(provider, "GET", target, "Origin: "+scriptOrigin))
			readable(t, response, 200)
			if vary := response.Header.Values("Vary"); !slices.Contains(vary, "Origin") && !strings.Contains(strings.Join(vary, ","), "Origin") {
				t.Errorf("a cache may hand it to another origin: Vary %q", vary)
			}
			if up := r.plain.take(); len(up) != 1 {
				t.Errorf("the API saw %d requests", len(up))
			}
		})
	}
	t.Run("an API's own word to others, but for cookies", func(t *testing.T) {
		response, _ := r.rawH1(r.h1("plain", "GET", "/ath/proxy/plain/cors", "Origin: https://own.example"))
		if got := accessControl(response); len(got) != 1 || got["Access-Control-Allow-Origin"] != "https://own.example" {
			t.Errorf("%v", got)
		}
	})
	t.Run("athd away", func(t *testing.T) {
		r.stopAuthz()
		readable(t, r.fromOrigin(scriptOrigin, "GET", "gw.example", "/ath/proxy/plain/x"), 503)
	})
}

// An app that people use, too, has browsers of its own to answer.
// F-20
func TestAnAppThatPeopleShareAnswersPreflightsItself(t *testing.T) {
	r := newRig(t, withOrigins(false), func(r *rig, _ *bootstrap.Config) { r.set.Get("shop").App.Passthrough = true })
	r.play(askReal)
	response := r.preflight(scriptOrigin, "shop.example", "/shop/cors")
	if got := accessControl(response); got["Access-Control-Allow-Credentials"] != "true" || got["Access-Control-Allow-Origin"] != "https://own.example" {
		t.Errorf("%s %v", response.Status, got)
	}
	if up := r.plain.take(); len(up) != 1 || up[0].method != "OPTIONS" {
		t.Errorf("the app saw %+v", up)
	}
}

// F-20
func TestWithoutOriginsNoScriptMayCall(t *testing.T) {
	r := newRig(t)
	if strings.Contains(strings.ToLower(r.config), "cors") {
		t.Error("the configuration speaks of CORS")
	}
	r.play(askReal)
	for what, at := range forScripts {
		t.Run(what, func(t *testing.T) {
			r.play(askReal)
			response := r.preflight(scriptOrigin, at[0], at[1])
			if got := accessControl(response); len(got) > 0 {
				t.Errorf("%v", got)
			}
			if asked := len(r.companion.take()) == 1; asked {
				return // which answers by itself
			}
			if response.StatusCode != 401 || len(r.judged()) != 1 || response.Header.Get("X-Ath-Decision-Id") == "" {
				t.Errorf("%s: want a refusal of athd's", response.Status)
			}
		})
	}
}

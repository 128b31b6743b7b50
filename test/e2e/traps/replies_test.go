package traps

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

func TestP7EnvoysOwnRefusalsAreJSON(t *testing.T) {
	r := newRig(t)
	r.play(askReal)
	big := "X-Big: " + strings.Repeat("x", 70<<10)
	tests := []struct {
		name, request string
		status        int
		code          ath.Code
	}{
		{"no such page of the handshake", r.h1("plain", "GET", "/ath/none"), 404, ath.NotFound},
		{"no route on a host of an app's", strings.Replace(r.h1("plain", "GET", "/none"), "gw.example", "shop.example", 1), 404, ath.NotFound},
		{"an encoded slash", r.h1("plain", "GET", "/ath/proxy/plain/a%2fb"), 400, ath.InvalidRequest},
		{"headers that are too large", r.h1("plain", "GET", "/x", big), 431, ath.InvalidRequest},
		{"nothing listens at the API", r.h1("down", "GET", "/ath/proxy/down/x"), 503, ath.InternalError},
		{"the API's certificate is another's", r.h1("wrong", "GET", "/ath/proxy/wrong/x"), 503, ath.InternalError},
		{"a tunnel", "CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n", 405, ath.MethodNotAllowed},
		{"an upgrade where there is none", r.h1("plain", "GET", "/ath/proxy/plain/x", "Upgrade: spdy", "Connection: upgrade"), 403, ath.InvalidRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			response, body := r.rawH1(tt.request)
			mustBeError(t, response, body, tt.status, tt.code)
			// F-31: the id is in the body, in a header and in the access log;
			// it is athd's where athd was asked.
			id := decisionOf(body)
			if header := response.Header.Values("X-ATH-Decision-ID"); len(header) != 1 || header[0] != id {
				t.Errorf("E-2: the header says %q, the body %q", header, body)
			}
			begin := "env_"
			if tt.status == 503 {
				begin = "dec_"
			}
			if !strings.HasPrefix(id, begin) || len(id) < 15 {
				t.Errorf("E-2: the id is %q", id)
			}
			line := r.envoy.WaitAccessLog(`"refusal":"` + id + `"`)
			if begin == "dec_" && !strings.Contains(line, `"decision":"`+id+`"`) {
				t.Errorf("the access log tells another decision: %s", line)
			}
		})
	}
}

// decisionOf returns the decision_id of a refusal.
func decisionOf(body string) string {
	var e struct {
		Details struct {
			ID string `json:"decision_id"`
		}
	}
	json.Unmarshal([]byte(body), &e)
	return e.Details.ID
}

// Whoever is told that something is away is told what.
// F-29
func TestRefusalsSayWhatIsAway(t *testing.T) { onEachRoute(t, refusalsSayWhatIsAway) }

func refusalsSayWhatIsAway(t *testing.T, newRig rigOf) {
	r := newRig(t)
	r.play(askReal)
	said := func(request string) (string, string) {
		response, body := r.rawH1(request)
		mustBeError(t, response, body, 503, ath.InternalError)
		if response.Header.Get("Retry-After") == "" {
			t.Errorf("no Retry-After: %v", response.Header)
		}
		var e struct{ Message string }
		json.Unmarshal([]byte(body), &e)
		return e.Message, decisionOf(body)
	}
	if message, id := said(r.h1("down", "GET", "/ath/proxy/down/x")); message != "The API cannot be reached." || !strings.HasPrefix(id, "dec_") {
		t.Errorf("the API is away: %q %s", message, id)
	}
	r.stopAuthz()
	r.companion.stop()
	for _, target := range []string{"/ath/proxy/plain/x", "/api", "/ath/token", "/.well-known/ath.json"} {
		if message, id := said(r.h1("plain", "GET", target)); message != "The authorization service (athd) cannot be reached." || !strings.HasPrefix(id, "env_") {
			t.Errorf("%s: athd is away: %q %s", target, message, id)
		}
	}
}

// No API speaks for athd.
// proves: P-9
func TestNoAPISpeaksForAthd(t *testing.T) { onEachRoute(t, noAPISpeaksForAthd) }

func noAPISpeaksForAthd(t *testing.T, newRig rigOf) {
	r := newRig(t)
	r.play(askReal)
	for target, provider := range map[string]string{"/ath/proxy/plain/x": "plain", "/ath/proxy/tls/x": "tls", "/api": "app"} {
		response, body := r.do(r.request(provider, "GET", target, nil))
		if response.StatusCode != 200 || body != "ok" {
			t.Fatalf("%s: %d %s", target, response.StatusCode, body)
		}
		for name := range response.Header {
			if strings.HasPrefix(name, "X-Ath-") {
				t.Errorf("%s: %s came through", target, name)
			}
		}
	}
	// HTTP/2 on both sides: trailers too.
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &h2}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(r.request("tls", "GET", "/ath/proxy/tls/x", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	if len(response.Trailer.Values("X-Ath-Late")) > 0 || response.Trailer.Get("X-Sum") != "1" || response.ProtoMajor != 2 {
		t.Errorf("trailers over %s: %v", response.Proto, response.Trailer)
	}
	// The handshake's own say it.
	if response, _ := r.do(r.request("plain", "GET", "/ath/token", nil)); response.Header.Get("X-ATH-Decision-ID") != "dec_forged" {
		t.Errorf("the companion's header is gone: %v", response.Header)
	}
}

// The mappers that make Envoy's refusals JSON leave athd's own alone.
// proves: E-2
func TestAthdsRefusalsArriveAsTheyAre(t *testing.T) { onEachRoute(t, athdsRefusalsArriveAsTheyAre) }

func athdsRefusalsArriveAsTheyAre(t *testing.T, newRig rigOf) {
	r := newRig(t)
	tests := []struct {
		name, request string
		storeDown     bool
		status        int
		code          ath.Code
		header, value string
	}{
		{"P-1: an invalid token", strings.Replace(r.h1("plain", "GET", "/ath/proxy/plain/x"), "ath_tk_", "ath_xx_", 1), false,
			401, ath.TokenInvalid, "WWW-Authenticate", `Bearer realm="ath", error="invalid_token"`},
		{"P-3: another provider's token", r.h1("tls", "GET", "/ath/proxy/plain/x"), false, 403, ath.ProviderMismatch, "Cache-Control", "no-store"},
		{"P-3: no such provider", r.h1("plain", "GET", "/ath/proxy/none/x"), false, 403, ath.ProviderMismatch, "Cache-Control", "no-store"},
		{"P-3: the mount without its slash", r.h1("plain", "GET", "/ath/proxy/plain"), false, 403, ath.ProviderMismatch, "Cache-Control", "no-store"},
		{"P-4: no scope", r.h1("plain", "DELETE", "/ath/proxy/plain/x"), false, 403, ath.ScopeNotApproved, "Cache-Control", "no-store"},
		{"the store is away", r.h1("plain", "GET", "/ath/proxy/plain/x"), true, 503, ath.InternalError, "Retry-After", "1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.play(askReal)
			r.mu.Lock()
			r.storeDown = tt.storeDown
			r.mu.Unlock()
			response, body := r.rawH1(tt.request)
			mustBeError(t, response, body, tt.status, tt.code)
			if got := response.Header.Get(tt.header); got != tt.value {
				t.Errorf("%s is %q, want %q", tt.header, got, tt.value)
			}
			var e struct {
				Details struct {
					ID string `json:"decision_id"`
				}
			}
			if json.Unmarshal([]byte(body), &e); !strings.HasPrefix(e.Details.ID, "dec_") {
				t.Fatalf("E-2: %s", body)
			}
			// The access log leads from the request to the decision, and
			// shows no secret.
			line := r.envoy.WaitAccessLog(e.Details.ID)
			if strings.Contains(line, ath.TokenPrefix) {
				t.Errorf("the access log holds a token: %s", line)
			}
		})
	}
}

func TestAccessLogHoldsNoSecret(t *testing.T) { onEachRoute(t, accessLogHoldsNoSecret) }

func accessLogHoldsNoSecret(t *testing.T, newRig rigOf) {
	r := newRig(t)
	r.play(askReal)
	r.rawH1(r.h1("plain", "GET", "/ath/callback?code=s3cret&state=s3cret"))
	r.rawH1(r.h1("plain", "GET", "/ath/proxy/plain/x?q=s3cret"))
	r.envoy.WaitAccessLog(`"/ath/callback"`)
	allowed := r.envoy.WaitAccessLog(`"/base/x"`) // the path as the API saw it
	if !strings.Contains(allowed, `"dec_`) || !strings.Contains(allowed, `"allowed"`) {
		t.Errorf("an allowed request's line tells no decision: %s", allowed)
	}
	for _, line := range r.envoy.AccessLog() {
		if strings.Contains(line, "s3cret") || strings.Contains(line, userToken) || strings.Contains(line, ath.TokenPrefix) {
			t.Errorf("a secret in %s", line)
		}
	}
}

// A path in which a credential of ours stands is not shown, however it is
// written, and whoever answers: athd, for whatever reason, Envoy or the
// companion. Every request has its one line all the same.
// S-11
func TestAccessLogShowsNoPathWithACredential(t *testing.T) {
	onEachRoute(t, accessLogShowsNoPathWithACredential)
}

func accessLogShowsNoPathWithACredential(t *testing.T, newRig rigOf) {
	r := newRig(t)
	r.play(askReal)
	secret := strings.Repeat("s3cret", 8)[:43]
	n := 0
	for _, mount := range []string{"/ath/proxy/plain/", "/ath/proxy/none/", "/ath/", "/ath/agents/", "/nowhere/"} {
		for _, written := range []string{
			"ath_tk_", "ATH_TK_", "ath%5Ftk%5f", "%61th_t%6B_", "%41%54%48%5F%54%4B%5F", "ath%255Ftk_", "%2561th_tk_", "ath%25255ftk_",
			"ath%%35ftk_", "ath%5%46tk_", "a%7%34h_tk_", "ath_secret_", "ath_s%65cret_", "ath_code_", "ath_sess_", "ath%_tk_%", "x;ath_tk_", "//ath_tk_",
			"ath_rt_", "ATH%5Frt_", "ath_%72t_", "/ath/heal/",
		} {
			n++
			r.rawH1(r.h1("plain", "GET", mount+written+secret+"?n="+strconv.Itoa(n)))
			n++
			r.rawH1(strings.Replace(r.h1("plain", "GET", mount+"x/"+written+secret+"/y"), "Authorization", "X-Other", 1))
		}
	}
	before := len(r.envoy.AccessLog())
	r.rawH1(r.h1("plain", "GET", "/ath/proxy/plain/last%20one?to=ath_tk"))
	r.rawH1(r.h1("plain", "GET", "/ath/proxy/none/caf%C3%A9?x=100%25"))
	r.envoy.WaitAccessLog(`"/base/last%20one"`)
	r.envoy.WaitAccessLog(`"/ath/proxy/none/caf%C3%A9"`)
	r.rawH1("CONNECT gw.example:443 HTTP/1.1\r\nHost: gw.example:443\r\nConnection: close\r\n\r\n")
	r.envoy.WaitAccessLog(`"CONNECT"`)
	lines := r.envoy.AccessLog()
	if len(lines) != n+3 {
		t.Errorf("%d lines of %d requests (%d before the last)", len(lines), n+3, before)
	}
	for _, line := range lines {
		if strings.Contains(line, "s3cret") {
			t.Errorf("shown: %s", line)
		}
	}
}

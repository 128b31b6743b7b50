package traps

import (
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

// A header in which no token belongs would reach the API, and its log.
// S-11
func TestATokenInAnotherHeaderGoesNowhere(t *testing.T) {
	onEachRoute(t, aTokenInAnotherHeaderGoesNowhere)
}

func aTokenInAnotherHeaderGoesNowhere(t *testing.T, newRig rigOf) {
	r := newRig(t)
	r.play(askReal)
	stray := token("plain")
	for _, tt := range []struct{ name, header, value string }{
		{"P-5: Referer", "referer", "https://agents.example/run?t=" + stray},
		{"P-5: Referer, encoded", "referer", "https://agents.example/run?t=%61th%5ftk%5f" + stray[7:]},
		{"P-5: X-Api-Key", "x-api-key", stray},
		{"P-5: X-Api-Key in capitals", "x-api-key", strings.ToUpper(stray)},
		{"P-5: Proxy-Authorization", "proxy-authorization", "Bearer " + stray},
		{"P-5: a name of the API's own", "x-z", stray},
		{"P-5: a name without x-", "api-token", stray},
		{"P-5: a renewal token", "x-api-key", "ath_rt_" + stray[7:]},
		{"P-5: a renewal token, encoded", "x-refresh", "%61th%5fRT%5f" + stray[7:]},
		{"P-5: beside other bytes", "x-note", "caf\xe9 _ath_tk _" + stray},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{"/ath/proxy/plain/x", "/x"} {
				id := "plain"
				if path == "/x" {
					id = "app"
				}
				response, body := r.rawH1(r.h1(id, "GET", path, tt.header+": "+tt.value))
				mustBeError(t, response, body, 400, ath.InvalidRequest)
				if strings.Contains(strings.ToLower(body), strings.ToLower(stray[7:])) || response.Header.Get("X-Ath-Decision-Id") == "" {
					t.Errorf("%s %v", body, response.Header)
				}
			}
			if tt.header != "referer" { // of which Envoy takes away what is no URL
				response, body := r.rawH1(r.h1("plain", "GET", "/ath/proxy/plain/x", tt.header+": harmless", tt.header+": "+tt.value))
				mustBeError(t, response, body, 400, ath.InvalidRequest)
			}
			if !strings.Contains(tt.value, "\xe9") {
				if got := r.rawH2(r.h2("tls", "GET", "/ath/proxy/tls/x", [2]string{tt.header, tt.value}), "", nil); got != "400" {
					t.Errorf("HTTP/2: %s", got)
				}
			}
			if up := append(r.plain.take(), r.tls.take()...); len(up) > 0 {
				t.Errorf("an API saw %+v", up)
			}
		})
	}
	t.Run("what only looks a little like one passes", func(t *testing.T) {
		for _, header := range []string{"X-Note: ath_t", "Referer: https://a.example/ath_tree?q=%5F%61th", "X-Api-Key: _tk_ath_", "User-Agent: a_b_c_d/100%"} {
			if response, body := r.rawH1(r.h1("plain", "GET", "/ath/proxy/plain/x", header)); response.StatusCode != 200 {
				t.Errorf("%s: %s: %s", header, response.Status, body)
			}
		}
		if up := r.plain.take(); len(up) != 4 {
			t.Errorf("the API saw %d requests", len(up))
		}
	})
	t.Run("large headers pass", func(t *testing.T) {
		if response, body := r.rawH1(r.h1("plain", "GET", "/ath/proxy/plain/x", "X-Large: "+strings.Repeat("a_", 20<<10))); response.StatusCode != 200 {
			t.Errorf("%s: %s", response.Status, body)
		}
	})
}

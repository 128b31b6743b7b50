package handshake

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/httpapi"
)

// S-1, S-7
func TestRightsAreTakenAwayWhileEveryDoorIsFlooded(t *testing.T) {
	w := newWorld(t, limits(httpapi.Limits{Concurrent: 16, ConcurrentPerAddress: 4}))
	known := w.actor("known")
	known.register("gallery", "pictures:read")
	victim, token := w.live(t, "victim")
	nowhere := strings.Replace(w.sites, "127.0.0.1", "localhost", 1)
	next := w.guesses(known.clientID, nowhere, known.attest(w.public, func(c jwt.MapClaims) { c["iss"] = nowhere }))
	for i := range 32 { // and bodies that do not come
		w.slow("POST", "/ath/agents/register", fmt.Sprintf("203.0.113.%d", i))
	}
	client := &http.Transport{MaxIdleConnsPerHost: 32}
	t.Cleanup(client.CloseIdleConnections)
	var stop atomic.Bool
	var sent, turned atomic.Int64
	var flood sync.WaitGroup
	t.Cleanup(flood.Wait)
	t.Cleanup(func() { stop.Store(true) })
	for range 32 {
		flood.Go(func() {
			for !stop.Load() {
				n := sent.Add(1)
				g := next(int(n))
				if n%7 == 0 {
					g = guess{"POST", "/ath/revoke", `{"client_id":"` + known.clientID + `","client_secret":"x","token":"x"}`, 401}
				}
				req, err := http.NewRequest(g.method, w.public+g.path, strings.NewReader(g.body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("X-Forwarded-For", fmt.Sprintf("100.64.%d.%d", n>>8&255, n&255))
				resp, err := client.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode == 503 || resp.StatusCode == 429 {
					turned.Add(1)
				}
			}
		})
	}
	for round := 0; round < 20 || sent.Load() < 2000; round++ {
		w.action(t, known, "suspend", "")
		w.action(t, known, "resume", "")
	}
	if r := w.post("/ath/revoke", body{"client_id": victim.clientID, "client_secret": victim.secret, "token": token}, "X-Forwarded-For", "192.0.2.1"); r.status != 200 {
		t.Errorf("an agent's own revocation: %d %s", r.status, r.raw)
	}
	if r := w.ask("DELETE", victim.path(), "", "Authorization", basic(victim.clientID, victim.secret)); r.status != 200 {
		t.Errorf("an agent that removes itself: %d %s", r.status, r.raw)
	}
	if r := w.operate("DELETE", known.adminPath(), ""); r.status != 200 {
		t.Errorf("an operator removes an agent: %d %s", r.status, r.raw)
	}
	if turned.Load() == 0 {
		t.Errorf("of %d requests none found the places taken: that proves nothing", sent.Load())
	}
}

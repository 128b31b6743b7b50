package handshake

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/ratelimit"
)

// S-10: who asks from where is on record, whether it was refused or done.
// proves: U-1
func TestEventsOfHandshakesTellTheAddress(t *testing.T) {
	const one, other = "198.51.100.7", "2001:db8:1:2:3:4:5:6"
	w := newWorld(t, limits(httpapi.Limits{Registrations: ratelimit.Rate{N: 1, Per: time.Hour}}))
	tells := func(t *testing.T, id, want string) {
		t.Helper()
		if e := w.event(id); e == nil || e["client_address"] != want {
			t.Errorf("the event of %q is %v, want client_address %s", id, e, want)
		}
	}
	for _, door := range []string{
		"POST /ath/agents/register", "POST /ath/agents/register", // the second one is too much
		"POST /ath/authorize", "POST /ath/token", "POST /ath/revoke", "GET /ath/revoke", "GET /ath/nowhere",
		"GET /ath/consent/start", "POST /ath/consent/decide", "GET /ath/callback",
		"GET /ath/admin/agents", "POST /ath/admin/explain", "DELETE /ath/agents/x",
	} {
		for _, accept := range []string{"application/json", "text/html"} {
			method, path, _ := strings.Cut(door, " ")
			id := decisionID.FindString(w.from(other, method, path, accept).raw)
			t.Run(door+" as "+accept, func(t *testing.T) { tells(t, id, other) })
		}
	}
	t.Run("what was done", func(t *testing.T) {
		a := w.actor("a")
		r := w.post("/ath/agents/register", a.registration("gallery", "pictures:read"), "X-Forwarded-For", one)
		if r.status != http.StatusCreated {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		for line := range strings.Lines(w.log()) {
			if strings.Contains(line, `"agent_registered"`) && !strings.Contains(line, `"client_address":"`+one+`"`) {
				t.Errorf("no address in %s", line)
			}
		}
	})
	t.Run("an address that a client made up is nobody's", func(t *testing.T) {
		tells(t, decisionID.FindString(w.from("203.0.113.9, "+one, "POST", "/ath/token", "").raw), one)
		tells(t, decisionID.FindString(w.from(`"},{"event":"x`, "POST", "/ath/token", "").raw), "127.0.0.1")
	})
}

package handshake

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
)

// A standing consent whose grant the provider has ended is refused with the same link
// as a call, and goes on once its user has healed it: also where no ATH token lives.
// proves: P-10, T-8
func TestAStandingConsentIsHealed(t *testing.T) {
	for name, fields := range map[string]string{"each consent for itself": asksUserinfo, "shared by the user's agents": asksUserinfo + `, "grants": "per_user"`} {
		t.Run(name, func(t *testing.T) {
			h := newHealthy(t, fields+`, "renewal": {"max": "90d", "idle": "30d"}`, func(c *settings) { c.Renewer = newVault(t, c) })
			h.agent = h.actor("stands")
			h.agent.register("service", "read", "write")
			link, session := h.agent.authorize("service", []string{"read", "write"})
			first := h.post("/ath/token", h.agent.exchange(session, athCode.FindString(h.press(h.newBrowser(), link, "Allow").Body)))
			if first.text("refresh_token") == "" {
				t.Fatalf("%d %s", first.status, first.raw)
			}
			h.service.end()
			h.pass(2 * time.Hour) // no ATH token lives
			r := h.post("/ath/token", h.agent.renewal(first))
			heals, _ := r.details()["authorization_url"].(string)
			if !r.is(http.StatusUnauthorized, "TOKEN_INVALID") || r.details()["reason"] != "reauthorization_required" || !strings.HasPrefix(heals, h.public+ath.HealPath) {
				t.Fatalf("%d %s", r.status, r.raw)
			}
			h.service.set(func() { h.service.user = "mallory" })
			unhealed(t, h.press(h.newBrowser(), heals, "Allow again"), "other_user")
			again, _ := h.post("/ath/token", h.agent.renewal(first)).details()["authorization_url"].(string)
			h.service.set(func() { h.service.user = "alice" })
			healed(t, h.press(h.newBrowser(), again, "Allow again"))
			r = h.post("/ath/token", h.agent.renewal(first))
			if r.status != http.StatusOK {
				t.Fatalf("the renewal: %d %s", r.status, r.raw)
			}
			h.token = r.text("access_token")
			if got := h.reason(t); got != authz.Allowed {
				t.Errorf("the renewed token is %s", got)
			}

			t.Run("V-6: a revoked one is not", func(t *testing.T) {
				h.worn(t)
				link := h.link(t)
				r := h.post("/ath/revoke", body{"client_id": h.agent.clientID, "client_secret": h.agent.secret, "token": first.text("refresh_token")})
				if r.status != http.StatusOK {
					t.Fatalf("%d %s", r.status, r.raw)
				}
				unhealed(t, h.press(h.newBrowser(), link, "Allow again"), "ended")
				if r := h.post("/ath/token", h.agent.renewal(first)); !r.is(http.StatusUnauthorized, "TOKEN_REVOKED") || r.details()["authorization_url"] != nil {
					t.Errorf("%d %s", r.status, r.raw)
				}
			})
		})
	}
}

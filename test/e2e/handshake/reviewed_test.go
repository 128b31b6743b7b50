package handshake

import (
	"slices"
	"testing"

	"github.com/athd/athd/approval"
)

// What an operator has looked at stays as it was looked at.
// S-14
// proves: R-2
func TestWhatWasReviewedStays(t *testing.T) {
	for _, approved := range []bool{false, true} {
		w := newWorld(t, review)
		a := w.actor("a")
		a.register("gallery", "pictures:read")
		if approved {
			w.action(t, a, "approve", "")
		}
		for field, change := range map[string][]any{
			"purpose":       {"purpose", "something else"},
			"redirect_uris": {"redirect_uris", []string{"https://elsewhere.example/cb"}},
			"developer":     {"developer", body{"name": "Demo Developers", "id": "demo-developers", "contact": "mailto:other@elsewhere.example"}},
		} {
			r := w.post("/ath/agents/register", a.registration("gallery", "pictures:write").with(change...))
			w.refusedAs(t, r, 409, "CONFLICT")
			if r.details()["field"] != field || r.details()["client_id"] != a.clientID {
				t.Errorf("approved %v, %s: %s", approved, field, r.raw)
			}
		}
		r := w.operate("GET", a.adminPath(), "")
		if r.text("purpose") != "testing" || len(r.list("redirect_uris")) != 3 || slices.Contains(r.list("redirect_uris"), any("https://elsewhere.example/cb")) {
			t.Errorf("approved %v: %s", approved, r.raw)
		}
		// More scopes, and nothing else, are asked for as before.
		if r := w.post("/ath/agents/register", a.registration("gallery", "pictures:write")); r.status != 201 {
			t.Errorf("approved %v: %d %s", approved, r.status, r.raw)
		}
	}
	t.Run("what the policy approves by itself may grow", func(t *testing.T) {
		w := newWorld(t, policy(approval.Policy{Default: approval.Approve}))
		a := w.actor("a")
		a.register("gallery", "pictures:read")
		r := w.post("/ath/agents/register", a.registration("gallery", "pictures:write").with("redirect_uris", []string{"https://other.example/cb"}))
		if r.status != 201 {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
}

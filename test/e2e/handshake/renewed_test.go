package handshake

import (
	"net/http"
	"strings"
	"testing"
)

// renew has an agent remove itself and register again for the same: its id is
// the same, its client_id another.
func (a *actor) renew(provider string, scopes ...string) {
	a.w.t.Helper()
	before := a.clientID
	if r := a.w.ask("DELETE", a.path(), "", "Authorization", basic(a.clientID, a.secret)); r.status != http.StatusOK {
		a.w.t.Fatalf("remove: %d %s", r.status, r.raw)
	}
	if r := a.register(provider, scopes...); r.status != http.StatusCreated || a.clientID == before {
		a.w.t.Fatalf("register again: %d %s", r.status, r.raw)
	}
}

// What was asked for under a registration that has been removed gives nothing
// under the next one, also where the user consents only then.
// N-5; proves: R-7
func TestASessionEndsWithItsRegistration(t *testing.T) {
	w := newWorld(t)
	t.Run("while the user is at the provider", func(t *testing.T) {
		a := w.actor("renewed")
		a.register("gallery", "pictures:read")
		link, session := a.authorize("gallery", []string{"pictures:read"})
		b, back := w.heldBack(link, "Allow")
		a.renew("gallery", "pictures:read")
		code := athCode.FindString(w.once(b, back).raw)
		if r := w.post("/ath/token", a.exchange(session, code)); r.status == http.StatusOK || r.text("access_token") != "" {
			t.Errorf("R-7: the next registration gets a token of it: %d %s", r.status, r.raw)
		} else {
			w.refusedAs(t, r, 403, "AGENT_IDENTITY_MISMATCH")
		}
	})
	t.Run("before the user has seen our page", func(t *testing.T) {
		a := w.actor("renewed-early")
		a.register("gallery", "pictures:read")
		link, _ := a.authorize("gallery", []string{"pictures:read"})
		a.renew("gallery", "pictures:read")
		page, err := w.newBrowser().Get(t.Context(), link)
		if err != nil || page.Status == http.StatusOK || !strings.Contains(page.Text, "AGENT_UNAPPROVED") {
			t.Errorf("R-7: our page asks for consent: %+v %v", page, err)
		}
	})
}

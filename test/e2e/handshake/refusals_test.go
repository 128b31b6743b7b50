package handshake

import (
	"net/http"
	"strings"
	"testing"
)

// What was refused lately is there for operators, with what finds its cause and
// without what nobody may see.
// proves: O-1
func TestOperatorsSeeTheLastRefusals(t *testing.T) {
	const path = "/ath/admin/refusals"
	w := newWorld(t)
	if r := w.operate("GET", path, ""); r.status != http.StatusOK || len(r.list("refusals")) != 0 || r.text("since") == "" || r.text("replica") == "" {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	a, token := w.live(t, "a")
	w.decide(t, a, token) // an allow leaves nothing
	w.decide(t, a, token+"x")
	bad := a.registration("gallery", "pictures:read").with("agent_attestation", "not-an-attestation-but-secret")
	refused := w.post("/ath/agents/register", bad)
	if refused.status < 400 {
		t.Fatalf("%d %s", refused.status, refused.raw)
	}
	w.get("/ath/consent/start?session=secret-of-a-session")
	w.ask("GET", "/ath/admin/agents", "", "X-ATH-User-Token", "secret-guess")
	r := w.operate("GET", path, "")
	var seen []string
	for _, one := range r.list("refusals") {
		m := one.(map[string]any)
		seen = append(seen, m["method"].(string)+" "+m["path"].(string)+" "+m["code"].(string))
		if m["path"] == "/ath/agents/register" && (m["decision_id"] != refused.details()["decision_id"] || m["agent_id"] != a.id || m["time"] == "" || m["count"] != 1.0) {
			t.Errorf("%v", m)
		}
	}
	all := strings.Join(seen, "\n")
	for _, want := range []string{"GET /ath/admin/… UNAUTHORIZED", "GET /ath/consent/start ", "POST /ath/agents/register " + refused.code(), "TOKEN_INVALID"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing:\n%s", want, all)
		}
	}
	for _, secret := range []string{"secret", token, "?"} {
		if strings.Contains(r.raw, secret) {
			t.Errorf("%q is shown: %s", secret, r.raw)
		}
	}
	w.refusedAs(t, w.operate("GET", path+"?limit=1", ""), http.StatusBadRequest, "INVALID_REQUEST")
}

package handshake

import (
	"net/http"
	"testing"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
)

// A request can claim any developer's id; the policy reads the one of the
// document that the agent's key stands in.
// N-5; proves: R-1
func TestThePolicyReadsTheDevelopersIDFromTheDocument(t *testing.T) {
	host, err := ath.ParseHostPattern("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, policy(approval.Policy{Default: approval.Deny, Rules: []approval.Rule{
		{Developers: globs(t, "evil"), Action: approval.Deny},
		{Developers: globs(t, "trusted"), Hosts: []ath.HostPattern{host}, Action: approval.Approve},
	}}))
	for name, c := range map[string]struct{ document, claimed, want string }{
		"claims another's":         {"evil", "trusted", "denied"},
		"claims one of nobody":     {"nobody", "trusted", "denied"},
		"says another's elsewhere": {"trusted", "evil", "approved"},
		"says the same":            {"trusted", "trusted", "approved"},
	} {
		a := w.actor(c.document + "-" + c.claimed)
		a.doc.Developer.ID = c.document
		b := a.registration("gallery", "pictures:read").with("developer", body{"name": "Demo Developers", "id": c.claimed})
		if r := w.post("/ath/agents/register", b); r.status != http.StatusCreated || r.text("agent_status") != c.want {
			t.Errorf("R-1: %s: %d %s, want %s", name, r.status, r.raw, c.want)
		}
	}
}

// Of several rules that approve something, the one that ends first is the end
// of the registration, in whatever order the scopes come.
// N-5; proves: R-5
func TestTheFirstEndOfSeveralRulesCounts(t *testing.T) {
	w := newWorld(t, policy(approval.Policy{Default: approval.Deny, Rules: []approval.Rule{
		{Scopes: globs(t, "pictures:write"), Action: approval.Approve, Expires: 48 * time.Hour},
		{Action: approval.Approve, Expires: 480 * time.Hour},
	}}))
	first := func(t *testing.T, r reply) {
		t.Helper()
		end, err := time.Parse(time.RFC3339, r.text("approval_expires"))
		if left := end.Sub(w.now()); err != nil || left > 48*time.Hour || left < 47*time.Hour {
			t.Errorf("R-5: %d, the approval holds for %v, want 48 h", r.status, left)
		}
	}
	first(t, w.actor("long-first").register("gallery", "pictures:read", "pictures:write"))
	first(t, w.actor("short-first").register("gallery", "pictures:write", "pictures:read"))
	later := w.actor("one-by-one")
	later.register("gallery", "pictures:read")
	first(t, later.register("gallery", "pictures:write"))
}

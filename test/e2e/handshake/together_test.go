package handshake

import (
	"net/http"
	"sync"
	"testing"
)

// An agent that starts in several places registers in each of them at once:
// one is the first, and the others add to it or hear that there is nothing new.
// proves: R-2
func TestFirstRegistrationsAtOnceAreOneRegistration(t *testing.T) {
	w := newWorld(t)
	at := []string{w.public, w.twin()}
	for _, name := range []string{"once", "twice", "thrice"} {
		a := w.actor(name)
		asks := []body{a.registration("gallery", "pictures:read"), a.registration("gallery", "pictures:write"), a.registration("shop", "products:read")}
		replies := make([]reply, 12)
		var wg sync.WaitGroup
		for i := range replies {
			b := asks[i%len(asks)].with("agent_attestation", a.attest(w.public))
			wg.Go(func() { replies[i] = w.postTo(at[i%2], "/ath/agents/register", b) })
		}
		wg.Wait()
		ids, created := map[string]bool{}, 0
		for _, r := range replies {
			switch {
			case r.status == http.StatusCreated:
				created++
				ids[r.text("client_id")] = true
			case r.is(http.StatusConflict, "CONFLICT"):
				ids[r.details()["client_id"].(string)] = true
			default:
				t.Errorf("%d %s", r.status, r.raw)
			}
		}
		if created != len(asks) || len(ids) != 1 {
			t.Errorf("%d were told that they added something, under %d client_ids", created, len(ids))
		}
		for id := range ids {
			a.clientID = id
		}
		for _, ask := range []struct{ provider, scope string }{{"gallery", "pictures:read"}, {"gallery", "pictures:write"}, {"shop", "products:read"}} {
			if r := w.post("/ath/authorize", a.authorization(ask.provider, ask.scope)); r.status != http.StatusOK {
				t.Errorf("%s: %d %s", ask.scope, r.status, r.raw)
			}
		}
	}
}

// proves: T-5
func TestRepliesNameAnAppAsItsAgentDoes(t *testing.T) {
	w := newWorld(t)
	a := w.actor("unnamed")
	r := a.register("default", "products:read")
	if p := r.list("approved_providers"); r.status != http.StatusCreated || len(p) != 1 || p[0].(map[string]any)["provider_id"] != "default" {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	for _, name := range []string{"default", "shop"} {
		if r := a.token(name, "products:read"); r.status != http.StatusOK || r.text("provider_id") != name {
			t.Errorf("%s: %d, provider_id %q", name, r.status, r.text("provider_id"))
		}
	}
}

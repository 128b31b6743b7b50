package attest_test

import (
	"testing"

	"github.com/athd/athd/attest"
)

// What an operator pins is all that is asked: also where a document is there,
// whatever it says.
// F-37
// proves: A-9
func TestNothingIsFetchedOfAPinnedAgent(t *testing.T) {
	h := newAgentHost(t, nil)
	pinned := newKey(t)
	h.config.Pinned = []attest.Pinned{{
		Agent: h.id, Key: &pinned.PublicKey, Name: "Laptop", Developer: attest.Developer{Name: "Office", ID: "office"},
	}}
	h.verifier = h.replica()
	if _, err := h.verify(h.attestation(h.key, nil)); reasonOf(err) != attest.Signature {
		t.Errorf("by the published key: %v", err)
	}
	identity, err := h.verify(h.attestation(pinned, nil))
	if err != nil || *identity != (attest.Identity{Name: "Laptop", Developer: attest.Developer{Name: "Office", ID: "office"}}) {
		t.Errorf("by the pinned key: %v, %v", identity, err)
	}
	if h.hits.Load() != 0 || len(h.recorded("refetch")) != 0 {
		t.Errorf("its host was asked %d times", h.hits.Load())
	}
}

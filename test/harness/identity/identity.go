// Package identity makes agents' identities for tests.
package identity

import (
	"crypto/ecdsa"
	"testing"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
)

// New returns the identity of a new agent, and its key for who signs with it
// what no honest agent would.
func New(t testing.TB, id, name string) (*client.Identity, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := client.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return With(t, key, id, name), key
}

// With is [New] with a key that there is already.
func With(t testing.TB, key *ecdsa.PrivateKey, id, name string) *client.Identity {
	t.Helper()
	a, err := client.NewIdentity(id, name, key)
	if err != nil {
		t.Fatal(err)
	}
	a.Developer = api.Developer{Name: "Demo Developers", ID: "demo-developers"}
	return a
}

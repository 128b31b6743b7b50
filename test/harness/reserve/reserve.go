// Package reserve gives tests loopback addresses for servers that they start
// by an address.
package reserve

import (
	"testing"

	"github.com/athd/athd/internal/ports"
)

// Addr returns a loopback address whose port is held until the test ends:
// nobody else is given it, and the server that it is for may listen there, end
// and listen again.
func Addr(t testing.TB) string {
	t.Helper()
	address, release, err := ports.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return address
}

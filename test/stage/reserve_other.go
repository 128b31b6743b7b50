//go:build !linux

package stage

import "testing"

// EnvoyAddr returns an address that was free a moment ago.
func EnvoyAddr(t testing.TB) string {
	t.Helper()
	return freeAddr(t)
}

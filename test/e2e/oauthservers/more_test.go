//go:build more

package oauthservers

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/oauthservers"
)

// chosen are the servers that make test-oauth was told to take.
func chosen(t *testing.T) []string {
	t.Helper()
	names := strings.Fields(os.Getenv("ATHD_OAUTH_SERVERS"))
	if len(names) == 0 {
		return oauthservers.More
	}
	for _, name := range names {
		if !slices.Contains(oauthservers.More, name) {
			t.Fatalf("there is no server %q; there are %s", name, strings.Join(oauthservers.More, ", "))
		}
	}
	return names
}

// The table of [TestRealServers], of servers that take a while.
func TestMoreRealServers(t *testing.T) {
	for _, name := range chosen(t) { // one after the other: Keycloak fills a machine
		t.Run(name, func(t *testing.T) { compare(t, []string{name}) })
	}
}

func TestProvidersCheckAtMoreRealServers(t *testing.T) {
	for _, name := range chosen(t) {
		t.Run(name, func(t *testing.T) { checks(t, []string{name}) })
	}
}

package bootstrap

import (
	"regexp"
	"testing"

	"github.com/athd/athd/envoy"
)

// What athd's reply must remove Envoy lets it, and nothing that steers Envoy or tells whose request it is.
func TestRepliesMayRemoveWhatIdentifies(t *testing.T) {
	pattern := regexp.MustCompile(mayChange)
	names := append([]string{"authorization", "cookie", "x-ath-agent-id"}, envoy.OverrideHeaders[:]...)
	names = append(names, envoy.IdentityHeaders[:]...)
	for _, p := range envoy.IdentityPrefixes {
		names = append(names, p+"user")
	}
	for _, name := range names {
		if !pattern.MatchString(name) {
			t.Errorf("%s cannot be removed", name)
		}
	}
	for _, name := range []string{":path", "host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-prefix",
		"x-envoy-original-path", "x-other", "x-api-key", "x-real-ip", "x-request-id", "content-length", "transfer-encoding", "accept"} {
		if pattern.MatchString(name) {
			t.Errorf("%s can be changed", name)
		}
	}
}

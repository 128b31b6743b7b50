package envoy

import (
	"regexp"
	"strings"
	"testing"
)

// What athd's reply must remove Envoy lets it, and nothing that steers Envoy or tells whose request it is.
func TestRepliesMayRemoveWhatIdentifies(t *testing.T) {
	pattern := regexp.MustCompile(mayChange)
	names := append([]string{"authorization", "cookie", "x-ath-agent-id"}, overrideHeaders[:]...)
	names = append(names, identityHeaders[:]...)
	for _, p := range identityPrefixes {
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

func TestNamesThatIdentify(t *testing.T) {
	for _, name := range append(identityHeaders[:], "x-auth-request-user", "x-goog-iap-jwt-assertion", "cf-access-jwt-assertion") {
		for _, spelt := range []string{name, strings.ToUpper(name), strings.ReplaceAll(name, "-", "_")} {
			if !identifies([]byte(spelt)) || !wanted([]byte(spelt)) {
				t.Errorf("%s is not known", spelt)
			}
		}
	}
	for _, name := range []string{"", "x", "x-forwarded-for", "x-use", "x-userx", "x-forwarded-users", "xremote-user", "remote", "x\xdfuser"} {
		if identifies([]byte(name)) {
			t.Errorf("%q is taken for one", name)
		}
	}
}

// S-10; proves: U-1
func TestTheClientIsWhomTrustedProxiesServe(t *testing.T) {
	for _, tt := range []struct {
		peer, forwarded string
		hops            int
		want            string
	}{
		{"192.0.2.1", "", 0, "192.0.2.1"},
		{"192.0.2.1", "198.51.100.6, 192.0.2.1", 0, "192.0.2.1"},
		{"192.0.2.1", "198.51.100.6, 192.0.2.1", 1, "198.51.100.6"},
		{"192.0.2.1", "203.0.113.5, 198.51.100.6,192.0.2.1", 1, "198.51.100.6"},
		{"192.0.2.1", "2001:db8::1, 10.0.0.2, 192.0.2.1", 2, "2001:db8::1"},
		{"192.0.2.1", "192.0.2.1", 2, "192.0.2.1"},
		{"192.0.2.1", "unknown, 192.0.2.1", 1, "192.0.2.1"},
		{"192.0.2.1", "secret=1, 192.0.2.1", 1, "192.0.2.1"},
		{"192.0.2.1", ",", 1, "192.0.2.1"},
	} {
		if got := clientOf(tt.peer, tt.forwarded, tt.hops); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

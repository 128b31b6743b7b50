package exchange

import "testing"

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

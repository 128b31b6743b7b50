package main

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for _, test := range []struct {
		text string
		want time.Duration // 0: refused
	}{
		{"90d", 90 * day}, {"1d12h", 36 * time.Hour}, {"12h", 12 * time.Hour}, {"1h30m", 90 * time.Minute}, {"10s", 10 * time.Second},
		{"3650d", 3650 * day},
		{"", 0}, {"0", 0}, {"0d", 0}, {"0s", 0}, {"-1d", 0}, {"-1h", 0}, {"1d-1h", 0}, {"1.5d", 0}, {"d", 0}, {"90", 0}, {"12h1d", 0},
		{"3651d", 0}, {"3650d1s", 0}, {"99999999999d", 0}, {"2562047h", 0}, {"1d+1h", 0}, {"1 d", 0},
	} {
		got, err := parseDuration(test.text)
		if got != test.want || (err == nil) != (test.want > 0) {
			t.Errorf("%q: %v, %v; want %v", test.text, got, err, test.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		text    string
		private bool
		dialled string
	}{
		{"unix:/run/athd/authz.sock", true, "unix:/run/athd/authz.sock"},
		{"127.0.0.1:9001", true, "127.0.0.1:9001"},
		{"[::1]:9001", true, "[::1]:9001"},
		{"localhost:9001", true, "localhost:9001"},
		{"127.1.2.3:9001", true, "127.1.2.3:9001"},
		{"0.0.0.0:9001", false, "127.0.0.1:9001"},
		{":9001", false, "127.0.0.1:9001"},
		{"[::]:9001", false, "[::1]:9001"},
		{"[::ffff:10.0.0.1]:9001", false, "[::ffff:10.0.0.1]:9001"},
		{"athd.internal:9001", false, "athd.internal:9001"},
	} {
		a, err := parseAddress(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if a.private() != test.private || a.dialled().String() != test.dialled || a.String() != test.text {
			t.Errorf("%s: private %v, dialled at %v", a, a.private(), a.dialled())
		}
	}
}

package ath

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for _, test := range []struct {
		text string
		want time.Duration // 0: refused
	}{
		{"90d", 90 * 24 * time.Hour}, {"1d12h", 36 * time.Hour}, {"12h", 12 * time.Hour}, {"1h30m", 90 * time.Minute}, {"10s", 10 * time.Second},
		{"3650d", 3650 * 24 * time.Hour},
		{"", 0}, {"0", 0}, {"0d", 0}, {"0s", 0}, {"-1d", 0}, {"-1h", 0}, {"1d-1h", 0}, {"1.5d", 0}, {"d", 0}, {"90", 0}, {"12h1d", 0},
		{"3651d", 0}, {"3650d1s", 0}, {"99999999999d", 0}, {"2562047h", 0}, {"1d+1h", 0}, {"1 d", 0},
	} {
		got, err := ParseDuration(test.text)
		if got != test.want || (err == nil) != (test.want > 0) {
			t.Errorf("%q: %v, %v; want %v", test.text, got, err, test.want)
		}
	}
}

func TestDurationsAreWrittenAsTheyAreRead(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"90d": 90 * 24 * time.Hour, "1d12h": 36 * time.Hour, "1h": time.Hour, "10m": 10 * time.Minute, "1h30m": 90 * time.Minute,
		"1m30s": 90 * time.Second, "1d1s": 24*time.Hour + time.Second, "59s": time.Minute - time.Millisecond,
	} {
		got := FormatDuration(d)
		if got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
		if back, err := ParseDuration(got); err != nil || back != d.Truncate(time.Second) {
			t.Errorf("%q is read as %v, %v", got, back, err)
		}
	}
	if got := FormatDuration(time.Millisecond); got != "0s" {
		t.Errorf("next to nothing is written %q", got)
	}
}

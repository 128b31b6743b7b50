// Package days lets agents work for 90 days on one consent each, on a real
// redis-server, with a real OAuth server, behind Envoy and two athd, all as built:
// with an hour of some seconds. make test has a slice of it, make test-days all.
package days

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/stage"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(processEnv); path != "" {
		os.Exit(process(path))
	}
	stage.Main(m)
}

// A scale is how long an hour is, and how many days there are.
type scale struct {
	hour time.Duration // whole seconds: lives of tokens are told in seconds
	days int
}

func (s scale) day() time.Duration { return 24 * s.hour }

// scaled reads the scale from ATHD_DAYS_HOUR and ATHD_DAYS.
func scaled(t *testing.T) scale {
	s := scale{hour: time.Second, days: 1}
	if text := os.Getenv("ATHD_DAYS_HOUR"); text != "" {
		var err error
		if s.hour, err = time.ParseDuration(text); err != nil || s.hour < time.Second || s.hour%time.Second != 0 {
			t.Fatalf("ATHD_DAYS_HOUR is %q: want whole seconds, as 2s", text)
		}
	}
	if text := os.Getenv("ATHD_DAYS"); text != "" {
		var err error
		if s.days, err = strconv.Atoi(text); err != nil || s.days < 1 || s.days > 90 {
			t.Fatalf("ATHD_DAYS is %q: want 1 to 90", text)
		}
	}
	return s
}

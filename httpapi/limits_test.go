package httpapi

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ratelimit"
)

// Each page that browsers open has places of its own.
func TestPagesHavePlacesOfTheirOwn(t *testing.T) {
	for _, row := range ath.Paths() {
		path := strings.ReplaceAll(row.Sample(), "…", "x")
		if route := routeOf(path); row.Browser() && route != row.Path {
			t.Errorf("the places of %s are those of %q", path, route)
		}
	}
}

// Whoever changes a limit while athd runs gives nobody anew what another one has
// counted, and what is under way goes on to be counted.
func TestCountsGoOnUnderOtherLimits(t *testing.T) {
	now, from, one := time.Unix(1e9, 0), netip.MustParseAddr("192.0.2.1"), ratelimit.Rate{N: 1, Per: time.Hour}
	limits := Limits{PerAddress: one, Registrations: one, PerAgent: one, Renewals: one, ProviderChanges: one}
	made := func(l Limits, before *limiter) *limiter {
		t.Helper()
		next, err := newLimiter(l, func(string) {}, before)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	first := made(limits, nil)
	waits := map[string]func(*limiter) time.Duration{
		"requests":           func(l *limiter) time.Duration { return l.addresses.Take(from, now) },
		"registrations":      func(l *limiter) time.Duration { return l.registrations.Take(from, now) },
		"calls":              func(l *limiter) time.Duration { return l.agents.Take("a", now) },
		"renewals":           func(l *limiter) time.Duration { return l.renewals.Take(ath.Digest{}, now) },
		"changes":            func(l *limiter) time.Duration { return l.changes.Take("ops", now) },
		"ends of rights":     func(l *limiter) time.Duration { return l.ending.Take(from, now) },
		"wrong admin tokens": func(l *limiter) time.Duration { return l.guesses.Take(from, now) },
	}
	for name, wait := range waits {
		for n := 0; wait(first) == 0; n++ {
			if n > adminGuesses.N {
				t.Fatalf("%s: there is no limit", name)
			}
		}
	}
	other := limits
	other.Pending = 7
	second := made(other, first)
	if second.underWay != first.underWay {
		t.Error("what is under way is counted twice")
	}
	for name, wait := range waits {
		if wait(second) == 0 {
			t.Errorf("%s: counted anew, though the rate is the same", name)
		}
	}
	two := ratelimit.Rate{N: 2, Per: time.Hour}
	third := made(Limits{PerAddress: two, Registrations: two, PerAgent: two, Renewals: two, ProviderChanges: two}, second)
	for name, wait := range waits {
		fixed := name == "wrong admin tokens" // whose rate nobody sets
		if anew := wait(third) == 0; anew == fixed {
			t.Errorf("%s: counted anew %t under another rate", name, anew)
		}
	}
}

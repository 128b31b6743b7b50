package httpapi

import (
	"testing"
	"time"
)

func TestRatesAreBoundedAndHaveNoHole(t *testing.T) {
	now := time.Unix(1e9, 0)
	r := newRates[int](Rate{N: 6, Per: time.Minute})
	r.max = 100
	allowed := func(key, tries int) (n int) {
		for range tries {
			if r.take(key, now) == 0 {
				n++
			}
		}
		return n
	}
	if n := allowed(1, 20); n != 6 {
		t.Fatalf("%d of 6 came through at once", n)
	}
	if wait := r.take(1, now); wait != 10*time.Second {
		t.Errorf("wait %v, want the time in which one comes back", wait)
	}
	for key := 2; key <= 100; key++ {
		allowed(key, 6)
	}
	// Nobody can be forgotten now: a thousand newcomers get together what one
	// bucket holds, however many names they have.
	through := 0
	for key := 1000; key < 2000; key++ {
		through += allowed(key, 6)
	}
	if through != 6*overflowFactor {
		t.Errorf("%d newcomers came through, want %d", through, 6*overflowFactor)
	}
	if len(r.byKey) != 100 || r.recent.Len() != 100 {
		t.Errorf("%d and %d buckets are held", len(r.byKey), r.recent.Len())
	}
	if n := allowed(1, 1); n != 0 {
		t.Error("a known key got more by the flood")
	}
	// Who was not there for long is forgotten, since that changes nothing.
	now = now.Add(time.Minute)
	if n := allowed(5000, 20); n != 6 || len(r.byKey) != 100 {
		t.Errorf("after a minute: %d came through, %d buckets", n, len(r.byKey))
	}
	if n := allowed(100, 20); n != 6 {
		t.Errorf("after a minute a known key had %d", n)
	}
}

func TestUnlimitedHoldsNothing(t *testing.T) {
	r := newRates[int](Unlimited)
	for key := range 1000 {
		if r.take(key, time.Unix(1e9, 0)) != 0 {
			t.Fatal("refused")
		}
	}
	if len(r.byKey) != 0 {
		t.Errorf("%d buckets", len(r.byKey))
	}
}

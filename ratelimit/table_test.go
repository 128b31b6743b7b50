package ratelimit

import (
	"testing"
	"time"
)

func TestATableIsBoundedAndHasNoHole(t *testing.T) {
	now := time.Unix(1e9, 0)
	r := NewTable[int](Rate{N: 6, Per: time.Minute}, ShareOverflow)
	r.max = 100
	allowed := func(key, tries int) (n int) {
		for range tries {
			if r.Take(key, now) == 0 {
				n++
			}
		}
		return n
	}
	if n := allowed(1, 20); n != 6 {
		t.Fatalf("%d of 6 came through at once", n)
	}
	if wait := r.Take(1, now); wait != 10*time.Second {
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
	r := NewTable[int](Unlimited, ShareOverflow)
	for key := range 1000 {
		if r.Take(key, time.Unix(1e9, 0)) != 0 {
			t.Fatal("refused")
		}
	}
	if len(r.byKey) != 0 {
		t.Errorf("%d buckets", len(r.byKey))
	}
}

func TestACrowdOfHardToGetKeysRefusesNobody(t *testing.T) {
	now := time.Unix(1e9, 0)
	r := NewTable[int](Rate{N: 2, Per: time.Minute}, ForgetOldest)
	r.max = 3
	take := func(key int) bool { return r.Take(key, now) == 0 }
	for _, key := range []int{1, 1, 2, 2, 3, 3} {
		if !take(key) {
			t.Fatalf("%d was refused", key)
		}
	}
	if take(1) { // and is the one that was used last
		t.Fatal("1 has a third")
	}
	if !take(4) || len(r.byKey) != 3 || r.recent.Len() != 3 {
		t.Fatalf("a new key was refused, or %d and %d are held", len(r.byKey), r.recent.Len())
	}
	if take(1) || take(3) {
		t.Error("one that was not the oldest was forgotten")
	}
	if !take(2) {
		t.Error("the oldest was not forgotten")
	}
}

func TestWhatIsLeftIsSaidAndNotTaken(t *testing.T) {
	now := time.Unix(1e9, 0)
	r := NewTable[string](Rate{N: 3, Per: time.Minute}, ForgetOldest)
	for want := 3; want >= 0; want-- {
		for range 2 {
			if got := r.Left("a", now); got != want {
				t.Fatalf("%d left, want %d", got, want)
			}
		}
		if wait := r.Take("a", now); wait == 0 != (want > 0) {
			t.Fatalf("with %d left: wait %v", want, wait)
		}
	}
	if r.Left("b", now) != 3 || len(r.byKey) != 1 {
		t.Error("to ask is remembered")
	}
	var none *Table[string]
	if none.Take("a", now) != 0 || none.Left("a", now) != Unlimited.N || none.Rate() != Unlimited {
		t.Error("no table limits")
	}
}

func TestAKnownKeyCostsNoAllocation(t *testing.T) {
	now := time.Unix(1e9, 0)
	r := NewTable[[2]string](Rate{N: 1e9, Per: time.Second}, ForgetOldest)
	key := [2]string{"tag", "client"}
	r.Take(key, now)
	if got := testing.AllocsPerRun(100, func() { r.Take(key, now) }); got > 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestRatesAreWrittenAsTheyAreRead(t *testing.T) {
	for want, r := range map[string]Rate{
		"20/s": {20, time.Second}, "1200/m": {1200, time.Minute}, "5000/h": {5000, time.Hour}, "off": Unlimited, "3/5s": {3, 5 * time.Second},
	} {
		if r.String() != want {
			t.Errorf("%v, want %s", r, want)
		}
	}
}

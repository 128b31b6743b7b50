package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/ath"
)

// S-7
func TestWhatEndsRightsHasPlacesOfItsOwn(t *testing.T) {
	l, err := newLimiter(Limits{Concurrent: 8, ConcurrentPerAddress: 4}, func(string) {}, nil)
	if err != nil {
		t.Fatal(err)
	}
	from := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", i)) }
	fill := func(in Lane, routes ...string) (n int, leave []func()) {
		for i := range 1000 {
			left, err := l.enter(routes[i%len(routes)], in, from(i%200))
			if err != nil {
				continue
			}
			n, leave = n+1, append(leave, left)
		}
		return n, leave
	}
	if n, _ := fill(LaneHandshake, ath.RegisterPath, ath.TokenPath, ath.AuthorizePath); n != 8 {
		t.Errorf("%d strangers at once, want 8", n)
	}
	if n, _ := fill(LaneEndings, ath.RevokePath); n != endingPlaces {
		t.Errorf("%d revocations beside them, want %d", n, endingPlaces)
	}
	n, leave := fill(LaneOperators, "other")
	if n != operatorPlaces {
		t.Errorf("%d operators beside all of them, want %d", n, operatorPlaces)
	}
	for _, left := range leave {
		left()
		left() // once counts
	}
	if n, _ := fill(LaneOperators, "other"); n != operatorPlaces {
		t.Errorf("%d operators after those have left", n)
	}
	if l.rate(nil, LaneOperators, from(1), time.Now()) != nil {
		t.Error("an operator is counted by address")
	}
}

// S-1
func TestPiecesOfWorkTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := &Turns{make(chan struct{}, 1)}
		var mu sync.Mutex
		under, most := 0, 0
		var all sync.WaitGroup
		done := 0
		for range 50 {
			all.Go(func() {
				err := turns.Run(t.Context(), func() {
					mu.Lock()
					under++
					most = max(most, under)
					mu.Unlock()
					time.Sleep(3 * time.Millisecond) // a piece
					mu.Lock()
					under--
					done++
					mu.Unlock()
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if most != 1 || done != 50 {
			t.Errorf("%d at once, %d done", most, done)
		}
		// Who waits for too long is told to come back, and takes no turn.
		hold := make(chan struct{})
		go turns.Run(t.Context(), func() { <-hold })
		synctest.Wait()
		start := time.Now()
		err := turns.Run(t.Context(), func() { t.Error("a piece ran without its turn") })
		e := (*ath.Error)(nil)
		if !errors.As(err, &e) || e.Status() != 503 || time.Since(start) != turnWait {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := turns.Run(gone, func() { t.Error("a piece ran for nobody") }); err == nil {
			t.Error("no error")
		}
		close(hold)
		synctest.Wait()
		if err := turns.Run(t.Context(), func() {}); err != nil {
			t.Error(err)
		}
	})
}

package attest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// slow is a host that never answers.
func slow(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// takes is an honest host that answers after d.
func takes(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// crowd lets n callers ask at once, each as a flight does. wait returns how
// many got which error.
func crowd(t *testing.T, s *slots, n int, host func(int) string) (wait func() map[error]int) {
	var callers sync.WaitGroup
	var mu sync.Mutex
	got := map[error]int{}
	for i := range n {
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), fetchTimeout)
			defer cancel()
			err := s.run(ctx, host(i), slow)
			mu.Lock()
			defer mu.Unlock()
			got[err]++
		})
	}
	synctest.Wait()
	return func() map[error]int { callers.Wait(); return got }
}

// proves
func TestSlowHostsDoNotStopAnHonestOne(t *testing.T) {
	for name, c := range map[string]struct {
		host func(int) string
		most time.Duration // that the honest fetch may take, its own 200 ms with it
	}{
		"A-7: a thousand fetches of one slow host":   {func(int) string { return "slow.example" }, 200 * time.Millisecond},
		"A-7: a thousand fetches of sixteen of them": {func(i int) string { return fmt.Sprint(i%16, ".slow.example") }, 700 * time.Millisecond},
		"A-7: one fetch of each of a thousand":       {func(i int) string { return fmt.Sprint(i, ".slow.example") }, fetchTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlots()
				wait := crowd(t, s, 1000, c.host)
				if held := len(s.taken); held > maxFetches {
					t.Errorf("%d fetches are under way", held)
				}
				ctx, cancel := context.WithTimeout(t.Context(), fetchTimeout)
				defer cancel()
				start := time.Now()
				err := s.run(ctx, "honest.example", takes(200*time.Millisecond))
				if took := time.Since(start); err != nil || took > c.most {
					t.Errorf("the honest host: %v after %v", err, took)
				} else {
					t.Logf("the honest fetch took %v", took)
				}
				wait()
				if len(s.taken) != 0 || len(s.hosts) != 0 {
					t.Errorf("left over: %d slots, %d hosts", len(s.taken), len(s.hosts))
				}
			})
		})
	}
}

// proves: A-7
func TestAHostHasFewFetchesInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots()
		wait := crowd(t, s, 1000, func(int) string { return "one.example" })
		if held := len(s.taken); held != maxPerHost {
			t.Errorf("%d fetches are under way, want %d", held, maxPerHost)
		}
		got := wait()
		if got[errHostBusy] != 1000-maxPerHost-maxWaiting {
			t.Errorf("%v were refused at once", got)
		}
	})
}

func TestASlowFetchIsPreemptedOnlyWhereOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots()
		wait := crowd(t, s, maxFetches, func(i int) string { return fmt.Sprint(i) })
		time.Sleep(2 * minFetchTime)
		if err := s.run(t.Context(), "honest.example", takes(time.Millisecond)); err != nil {
			t.Error(err)
		}
		got := wait()
		if got[errPreempted] != 1 || got[context.DeadlineExceeded] != maxFetches-1 {
			t.Errorf("got %v", got)
		}
	})
}

// proves: A-6
func TestPreemptionIsNotRememberedAsTheAgentsFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDocuments(Config{Now: time.Now})
		d.client.Transport = roundTrip(slow)
		for range maxFetches - 1 {
			d.slots.taken <- struct{}{}
		}
		fetched := make(chan error)
		go func() {
			_, err := d.fetchShared(t.Context(), exampleAgent(t))
			fetched <- err
		}()
		time.Sleep(minFetchTime / 2)
		if err := d.slots.run(t.Context(), "honest.example", takes(time.Millisecond)); err != nil {
			t.Error(err)
		}
		if err := <-fetched; !errors.Is(err, errPreempted) {
			t.Errorf("got %v", err)
		}
		if _, held := d.look(exampleID); held {
			t.Error("A-6: our own limit is remembered as the agent's failure")
		}
	})
}

type roundTrip func(context.Context) error

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return nil, f(r.Context()) }

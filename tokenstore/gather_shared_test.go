package tokenstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// One round trip that fails is one failure, however many reads it carried.
func TestABatchThatFailsCountsOnce(t *testing.T) {
	keys, err := NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{URL: "unix:///nobody/is/here.sock", Keyset: keys})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, slots := range []bool{false, true} {
		g := &gatherer{client: s.client, slots: slots, timeout: time.Second}
		for failures := range breakerThreshold {
			if !s.breaker.IsClosed() {
				t.Fatalf("slots %v: the breaker opened after %d batches", slots, failures)
			}
			batch := make([]*fetch, 3*breakerThreshold)
			for i := range batch {
				batch[i] = &fetch{keys: [3]string{"ath:{t}:grant", "ath:{t}:conn", "ath:{a}:agent"}, done: make(chan struct{})}
			}
			g.send(batch)
			for i, f := range batch {
				<-f.done
				if f.err == nil || errors.Is(f.err, redis.Nil) || isShared(f.err) != (i > 0) {
					t.Fatalf("slots %v: read %d of the batch: %v", slots, i, f.err)
				}
				_ = s.attempt(t.Context(), func(context.Context) error { return f.err })
			}
		}
		if s.breaker.IsClosed() {
			t.Errorf("slots %v: the breaker is closed after %d batches that failed", slots, breakerThreshold)
		}
		s.breaker.Close()
	}
}

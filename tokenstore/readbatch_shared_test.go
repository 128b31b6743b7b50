package tokenstore

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// serverless is a store without a server.
func serverless(t *testing.T) *Store {
	t.Helper()
	keys, err := NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{URL: "unix:///nobody/is/here.sock", Keyset: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// serverOf is one that proves nothing.
func serverOf(client redis.UniversalClient) *server {
	return newServer("a test", false, slog.New(slog.DiscardHandler), func(onConnect) redis.UniversalClient { return client })
}

// One round trip that fails is one failure, however many reads it carried.
func TestABatchThatFailsCountsOnce(t *testing.T) {
	s := serverless(t)
	for _, slots := range []bool{false, true} {
		g := newReadBatcher(s.server, slots, time.Second)
		for failures := range breakerThreshold {
			if !s.breaker.IsClosed() {
				t.Fatalf("slots %v: the breaker opened after %d batches", slots, failures)
			}
			const reads = 3 * breakerThreshold
			var b *batch
			for i := range reads {
				joined, place := g.join([3]string{"ath:{t}:grant", "ath:{t}:conn", "ath:{a}:agent"})
				if b = joined; place != i {
					t.Fatalf("read %d has place %d", i, place)
				}
			}
			g.lead(b)
			for i := range reads {
				_, err := b.answer(i)
				if err == nil || errors.Is(err, redis.Nil) || isShared(err) != (i > 0) {
					t.Fatalf("slots %v: read %d of the batch: %v", slots, i, err)
				}
				_ = s.attempt(t.Context(), "read", func(context.Context) error { return err })
			}
		}
		if s.breaker.IsClosed() {
			t.Errorf("slots %v: the breaker is closed after %d batches that failed", slots, breakerThreshold)
		}
		s.breaker.Close()
	}
}

// A server that takes connections and never answers holds nobody for longer
// than fetch says, however many wait.
func TestReadsOfAServerThatNeverAnswersEnd(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	client := redis.NewClient(&redis.Options{Addr: silent.Addr().String(), MaxRetries: -1, ContextTimeoutEnabled: true})
	defer client.Close()
	const (
		timeout = time.Second // of which what a busy machine adds is a part
		batches = 40
	)
	for _, slots := range []bool{false, true} {
		g := newReadBatcher(serverOf(client), slots, timeout)
		start := time.Now()
		var reading sync.WaitGroup
		for range batches * maxBatch {
			reading.Go(func() {
				if _, err := g.fetch(context.Background(), [3]string{"{t}g", "{t}c", "a"}); err == nil {
					t.Error("an answer from nobody")
				}
			})
		}
		reading.Wait()
		// All but the first batches find, when their turn comes, that it is too
		// late: else they would take twenty times the timeout.
		if took := time.Since(start); took > batches/maxInFlight*timeout/2 {
			t.Errorf("slots %v: the last read ended after %v", slots, took)
		}
		if b, place := g.join([3]string{}); place != 0 || len(g.inFlight) != 0 {
			t.Errorf("slots %v: place %d in batch %p is taken, and %d inFlight", slots, place, b, len(g.inFlight))
		}
	}
}

// Who comes while both inFlight are taken shares the next round trip.
func TestReadsThatWaitShareARoundTrip(t *testing.T) {
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), PipelinePoolSize: -1})
	defer client.Close()
	if err := client.Ping(t.Context()).Err(); err != nil { // dials, and says hello
		t.Fatal(err)
	}
	g := newReadBatcher(serverOf(client), false, 10*time.Second)
	for range maxInFlight {
		g.inFlight <- struct{}{}
	}
	const reads = 10
	var reading sync.WaitGroup
	for i := range reads {
		server.Set(strconv.Itoa(i), "value "+strconv.Itoa(i))
		reading.Go(func() {
			values, err := g.fetch(t.Context(), [3]string{"g", strconv.Itoa(i), "a"})
			if err != nil || values != [3]any{nil, "value " + strconv.Itoa(i), nil} {
				t.Errorf("read %d: %v, %v", i, values, err)
			}
		})
	}
	for {
		g.mu.Lock()
		all := g.open != nil && len(g.open.keys) == 3*reads
		g.mu.Unlock()
		if all {
			break
		}
		runtime.Gosched()
	}
	before := server.CommandCount()
	<-g.inFlight
	reading.Wait()
	if got := server.CommandCount() - before; got != 1 {
		t.Errorf("%d commands for %d reads", got, reads)
	}
}

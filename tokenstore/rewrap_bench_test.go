package tokenstore_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// BenchmarkRewrap seals agents, connections, owners and grants again, and then looks
// for what needs the old key: how long each takes for a record. docs/sizing.md
// says it for a million.
func BenchmarkRewrap(b *testing.B) {
	const users = 5_000
	server := realredis.Start(b)
	url, ctx := server.URL(), b.Context()
	before := newKeyset(b)
	added, id, err := before.Add()
	if err != nil {
		b.Fatal(err)
	}
	promoted, err := added.Promote(id)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		if err := server.Client().FlushAll(ctx).Err(); err != nil {
			b.Fatal(err)
		}
		old := backend{url: url, keys: added}.open(b)
		if _, err := old.Ready(ctx); err != nil {
			b.Fatal(err)
		}
		var all sync.WaitGroup
		for part := range 10 {
			all.Go(func() {
				for n := range users / 10 {
					f := newFlow(b)
					f.connection.User, f.grant.User = fmt.Sprint(part, " ", n), fmt.Sprint(part, " ", n)
					f.store(b, old)
				}
			})
		}
		all.Wait()
		s := backend{url: url, keys: promoted}.open(b)
		b.StartTimer()
		began := time.Now()
		done, err := s.Rewrap(ctx, tokenstore.Rewrap{Rate: 1 << 30})
		if err != nil {
			b.Fatal(err)
		}
		took, records := time.Since(began), 0
		for _, n := range done.Records {
			records += n
		}
		began = time.Now()
		uses, err := s.KeyUses(ctx)
		if err != nil || !uses.Unused(before.Primary()) {
			b.Fatal(uses, err)
		}
		b.ReportMetric(float64(records), "records")
		b.ReportMetric(float64(took.Nanoseconds())/float64(records), "rewrap-ns/record")
		b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(records), "status-ns/record")
	}
}

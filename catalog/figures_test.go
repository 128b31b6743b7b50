package catalog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/catalog"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// many is a store with n run-time providers in a real Redis.
func many(t testing.TB, n int) *world {
	t.Helper()
	server := realredis.Start(t)
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{server: server, url: server.URL(), keys: keys, files: `{"filed": ` + fields("filed", "") + `}`}
	s, err := tokenstore.Open(tokenstore.Config{URL: w.url, Keyset: keys, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range n {
		id := fmt.Sprintf("p%05d", i)
		held, err := s.RuntimeProvider(t.Context(), id)
		if err == nil {
			_, err = s.SwapRuntimeProvider(t.Context(), held, tokenstore.RuntimeProvider{ID: id, Config: rich(i), Created: time.Now(), CreatedBy: "ops"})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// processorTime is what this process has used.
func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// spent is how often Redis was asked by a command ("": by any) and how long that took it.
func (w *world) spent(t testing.TB, command string) (calls int, took time.Duration) {
	t.Helper()
	text, err := w.server.Client().Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		name, said, _ := strings.Cut(line, ":")
		var n, us int
		if _, err := fmt.Sscanf(said, "calls=%d,usec=%d", &n, &us); err == nil && (command == "" || name == "cmdstat_"+command) {
			calls, took = calls+n, took+time.Duration(us)*time.Microsecond
		}
	}
	return calls, took
}

// rich is a provider with rules, as most have them.
func rich(i int) ath.Secret {
	text, err := json.Marshal(map[string]any{
		"display_name": fmt.Sprintf("Provider %d", i), "categories": []string{"shopping", "travel"},
		"available_scopes":   []string{"orders:read", "orders:write", "profile:read"},
		"authorize_endpoint": fmt.Sprintf("https://login%d.example/oauth/authorize", i), "token_endpoint": fmt.Sprintf("https://login%d.example/oauth/token", i),
		"userinfo_endpoint": fmt.Sprintf("https://login%d.example/oauth/userinfo", i), "api_base_url": fmt.Sprintf("https://api%d.example/v2", i),
		"client_id": fmt.Sprintf("client-%d", i), "client_secret": "0123456789abcdef0123456789abcdef",
		"scope_rules": []map[string]any{
			{"scope": "orders:read", "methods": []string{"GET"}, "paths": []string{"/orders/**"}},
			{"scope": "orders:write", "methods": []string{"POST", "PUT", "DELETE"}, "paths": []string{"/orders/**"}},
			{"scope": "profile:read", "methods": []string{"GET"}, "paths": []string{"/me"}},
		},
	})
	if err != nil {
		panic(err)
	}
	return ath.NewSecret(string(text))
}

// ATHD_PROVIDERS=10000 go test -run TestFiguresOfManyProviders -v ./catalog
//
// Without it there are 1,000, and nothing is wanted of the times of a busy machine but
// that they are no hundreds of what they should be.
func TestFiguresOfManyProviders(t *testing.T) {
	n, strict := 1000, false
	if text := os.Getenv("ATHD_PROVIDERS"); text != "" {
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatal(err)
		}
		strict = true
	}
	w := many(t, n)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	r := w.make(t)
	if _, err := r.store.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, usedBefore, began := heap(), processorTime(t), time.Now()
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	load, used := time.Since(began), processorTime(t)-usedBefore
	each := int64(heap()-before) / int64(n)
	if r.providers.Current().Len() != n+1 {
		t.Fatalf("there are %d", r.providers.Current().Len())
	}
	t.Logf("%d providers in Redis: known after %v, of %v of processor time; %d bytes of memory each", n, load.Round(time.Millisecond), used.Round(time.Millisecond), each)
	r.run(t)

	other := w.start(t)
	var took, until []time.Duration
	for i := range 50 {
		c := rich(n + i)
		began := time.Now()
		if _, err := r.Add(t.Context(), fmt.Sprintf("added%d", i), c, "ops"); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
		id := fmt.Sprintf("added%d", i)
		for other.get(id) == nil {
			if time.Since(began) > 20*time.Second {
				t.Fatal("the other athd does not know it")
			}
			runtime.Gosched()
		}
		until = append(until, time.Since(began))
	}
	slices.Sort(took)
	slices.Sort(until)
	t.Logf("added, of %d: median %v, worst %v; known on another athd: median %v, worst %v", n, took[25], took[49], until[25], until[49])
	if each > 8<<10 {
		t.Errorf("a provider takes %d bytes", each)
	}
	if strict && (load > 2*time.Second || until[49] > 250*time.Millisecond) {
		t.Error("it takes too long")
	}
}

// What a change costs two athd and Redis where one of 10,000 providers is added, changed
// or removed fifty times a second: processor-µs/op is of both athd, and redis-µs/op what
// Redis says its commands took, with their looks at connections that are to end. What else is derived of the providers comes on top:
// the benchmark of cmd/athd has it.
//
//	go test ./catalog -run - -bench SteadyChanges -benchtime 300x -cpu 1
func BenchmarkSteadyChangesOfManyProviders(b *testing.B) {
	w := many(b, 10_000)
	r, other := w.start(b), w.start(b)
	runtime.GC()
	b.ReportAllocs()
	used, next := processorTime(b), time.Now()
	_, redis := w.spent(b, "")
	for i := 0; b.Loop(); i++ {
		time.Sleep(time.Until(next)) // the rate is what is wanted
		next = next.Add(20 * time.Millisecond)
		id := fmt.Sprint("added", i/3)
		switch i % 3 {
		case 0:
			r.add(b, id, rich(i))
		case 1:
			for { // the looks write the record, too
				record, err := r.Read(b.Context(), id)
				if err == nil {
					_, err = r.Change(b.Context(), record, rich(i), "dev")
				}
				if err == nil {
					break
				}
				if !errors.Is(err, catalog.ErrChanged) {
					b.Fatal(err)
				}
			}
		case 2:
			if _, err := other.Remove(b.Context(), id, "ops"); err != nil {
				b.Fatal(err)
			}
		}
	}
	_, now := w.spent(b, "")
	b.ReportMetric(float64((now-redis).Microseconds())/float64(b.N), "redis-µs/op")
	b.ReportMetric(float64((processorTime(b)-used).Microseconds())/float64(b.N), "processor-µs/op")
}

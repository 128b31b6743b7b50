package tokenstore_test

import (
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/athd/athd/test/harness/realredis"
)

// BenchmarkRead reads for decisions from a redis-server: one at a time, and
// from 64 goroutines as Envoy asks. cpu-ns/op is this process', and
// redis-ns/op the server's processor time per read.
func BenchmarkRead(b *testing.B) {
	server := realredis.Start(b)
	s := backend{url: server.URL(), keys: newKeyset(b)}.open(b)
	f := newFlow(b)
	f.store(b, s)
	raw := server.Client()
	redisTime := func() float64 {
		sum := 0.0
		for line := range strings.Lines(raw.Info(b.Context(), "cpu").Val()) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			if name == "used_cpu_user" || name == "used_cpu_sys" {
				v, _ := strconv.ParseFloat(value, 64)
				sum += v
			}
		}
		return sum * 1e9
	}
	ownTime := func() float64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return float64(u.Utime.Nano() + u.Stime.Nano())
	}
	measure := func(b *testing.B, run func()) {
		own, redis := ownTime(), redisTime()
		b.ReportAllocs()
		b.ResetTimer()
		run()
		b.StopTimer()
		b.ReportMetric((ownTime()-own)/float64(b.N), "cpu-ns/op")
		b.ReportMetric((redisTime()-redis)/float64(b.N), "redis-ns/op")
	}
	read := func() {
		if r, err := s.Read(b.Context(), f.token, f.agent.ID); err != nil || r.Grant == nil {
			b.Fatal(r, err)
		}
	}
	b.Run("alone", func(b *testing.B) {
		measure(b, func() {
			for b.Loop() {
				read()
			}
		})
	})
	b.Run("of 64", func(b *testing.B) {
		b.SetParallelism(32)
		measure(b, func() {
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					read()
				}
			})
		})
	})
}

package main

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	rtmetrics "runtime/metrics"

	"github.com/athd/athd/config"
)

// procsDivisor is the part of the processors that athd takes where nobody says
// how many: the Envoy beside it needs more. Each decision is a few microseconds
// of work and a wait; on as many processors as there are, waking and looking
// for such small pieces costs athd a quarter of its time, and Envoy its turn.
const procsDivisor = 2

// tune sets how this process uses memory and processors, unless the
// environment says otherwise, and returns what holds now, for the log.
func tune(env func(string) (string, bool), c config.RuntimeSettings) []any {
	available := runtime.GOMAXPROCS(0)
	if _, said := env("GOGC"); !said {
		debug.SetGCPercent(c.GCPercent)
	}
	if _, said := env("GOMEMLIMIT"); !said {
		debug.SetMemoryLimit(c.MemoryLimit)
	}
	if _, said := env("GOMAXPROCS"); !said {
		procs := c.MaxProcs
		if procs == 0 {
			procs = max(1, available/procsDivisor)
		}
		runtime.GOMAXPROCS(procs)
	}
	return inForce(available)
}

// inForce asks the Go runtime itself, as attributes of a log line.
func inForce(available int) []any {
	samples := []rtmetrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
	rtmetrics.Read(samples)
	return []any{
		slog.String("procs", fmt.Sprintf("%d of %d", runtime.GOMAXPROCS(0), available)),
		slog.Uint64("gc_percent", samples[0].Value.Uint64()),
		slog.String("memory_limit", fmt.Sprintf("%dMiB", samples[1].Value.Uint64()>>20)),
	}
}

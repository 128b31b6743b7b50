package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/athd/athd/config"
)

func TestRuntimeIsTunedByEnvironmentThenKeysThenDefaults(t *testing.T) {
	procs, gc, memory := runtime.GOMAXPROCS(0), debug.SetGCPercent(-1), debug.SetMemoryLimit(-1)
	restore := func() {
		runtime.GOMAXPROCS(procs)
		debug.SetGCPercent(gc)
		debug.SetMemoryLimit(memory)
	}
	defer restore()
	none := func(string) (string, bool) { return "", false }
	defaults := config.RuntimeSettings{GCPercent: 400, MemoryLimit: 256 << 20}
	for _, test := range []struct {
		name      string
		max       string // GOMAXPROCS
		key       int    // runtime.max_procs
		available int
		want      int
	}{
		{"nothing said", "", 0, 8, 4},
		{"an odd number", "", 0, 3, 1},
		{"one is one", "", 0, 1, 1},
		{"the key says it", "", 3, 8, 3},
		{"GOMAXPROCS says it", "8", 0, 8, 8},
		{"GOMAXPROCS wins over the key", "8", 3, 8, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer restore()
			runtime.GOMAXPROCS(test.available)
			c := defaults
			c.MaxProcs = test.key
			said := fmt.Sprint(tune(func(name string) (string, bool) { return test.max, name == "GOMAXPROCS" && test.max != "" }, c)...)
			if got := runtime.GOMAXPROCS(0); got != test.want {
				t.Errorf("%d processors, want %d", got, test.want)
			}
			if want := fmt.Sprintf("procs=%d of %d gc_percent=400 memory_limit=256MiB", test.want, test.available); said != want {
				t.Errorf("the log says %q, want %q", said, want)
			}
		})
	}
	t.Run("the keys say both limits", func(t *testing.T) {
		defer restore()
		tune(none, config.RuntimeSettings{GCPercent: 120, MemoryLimit: 512 << 20})
		if gc, memory := debug.SetGCPercent(-1), debug.SetMemoryLimit(-1); gc != 120 || memory != 512<<20 {
			t.Errorf("GC at %d %%, memory to %d bytes", gc, memory)
		}
	})
	t.Run("the environment says both limits", func(t *testing.T) {
		defer restore()
		debug.SetGCPercent(77)
		debug.SetMemoryLimit(1 << 40)
		tune(func(string) (string, bool) { return "what Go read at its start", true }, defaults)
		if gc, memory := debug.SetGCPercent(-1), debug.SetMemoryLimit(-1); gc != 77 || memory != 1<<40 {
			t.Errorf("GC at %d %%, memory to %d bytes", gc, memory)
		}
	})
}

package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestTheEnvironmentTunesBeforeAthdDoes(t *testing.T) {
	procs, gc, memory := runtime.GOMAXPROCS(0), debug.SetGCPercent(-1), debug.SetMemoryLimit(-1)
	restore := func() {
		runtime.GOMAXPROCS(procs)
		debug.SetGCPercent(gc)
		debug.SetMemoryLimit(memory)
	}
	defer restore()
	for _, test := range []struct {
		name  string
		says  map[string]string
		procs int
		want  int
	}{
		{"nothing said", nil, 8, 4},
		{"an odd number", nil, 3, 1},
		{"one is one", nil, 1, 1},
		{"GOMAXPROCS said", map[string]string{"GOMAXPROCS": "8"}, 8, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer restore()
			runtime.GOMAXPROCS(test.procs)
			tune(func(name string) (string, bool) { v, said := test.says[name]; return v, said })
			if got := runtime.GOMAXPROCS(0); got != test.want {
				t.Errorf("%d processors, want %d", got, test.want)
			}
			if gc, memory := debug.SetGCPercent(-1), debug.SetMemoryLimit(-1); gc != gcPercent || memory != memoryLimit {
				t.Errorf("GC at %d %%, memory to %d bytes", gc, memory)
			}
		})
	}
	t.Run("both limits said", func(t *testing.T) {
		defer restore()
		debug.SetGCPercent(77)
		debug.SetMemoryLimit(1 << 40)
		tune(func(string) (string, bool) { return "what Go read at its start", true })
		if gc, memory := debug.SetGCPercent(-1), debug.SetMemoryLimit(-1); gc != 77 || memory != 1<<40 {
			t.Errorf("GC at %d %%, memory to %d bytes", gc, memory)
		}
	})
}

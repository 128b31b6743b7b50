package main

import (
	"runtime"
	"runtime/debug"
)

const (
	// gcPercent lets garbage grow to four times what lives. What lives in athd
	// is a few MiB, so that this is cheap, and each decision leaves garbage:
	// by default a tenth of athd's time would go into collecting it.
	gcPercent = 400
	// memoryLimit is where that ends: near it garbage is collected as often as
	// need be.
	memoryLimit = 256 << 20
	// oneOf is the part of the processors that athd takes: the Envoy beside it
	// needs more. Each decision is a few microseconds of work and a wait; on as
	// many processors as there are, waking and looking for such small pieces
	// costs athd a quarter of its time, and Envoy its turn.
	oneOf = 2
)

// tune sets how this process uses memory and processors, unless the
// environment says otherwise.
func tune(env func(string) (string, bool)) {
	if _, said := env("GOGC"); !said {
		debug.SetGCPercent(gcPercent)
	}
	if _, said := env("GOMEMLIMIT"); !said {
		debug.SetMemoryLimit(memoryLimit)
	}
	if _, said := env("GOMAXPROCS"); !said {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/oneOf))
	}
}

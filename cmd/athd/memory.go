package main

import "runtime/debug"

const (
	// gcPercent lets garbage grow to four times what lives. What lives in athd
	// is a few MiB, so that this is cheap, and each decision leaves garbage:
	// by default a tenth of athd's time would go into collecting it.
	gcPercent = 400
	// memoryLimit is where that ends: near it garbage is collected as often as
	// need be.
	memoryLimit = 256 << 20
)

// tuneMemory sets both, unless the environment says otherwise.
func tuneMemory(env func(string) (string, bool)) {
	if _, said := env("GOGC"); !said {
		debug.SetGCPercent(gcPercent)
	}
	if _, said := env("GOMEMLIMIT"); !said {
		debug.SetMemoryLimit(memoryLimit)
	}
}

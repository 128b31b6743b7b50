package config

import (
	"fmt"
)

// What athd does to the Go runtime of its process, unless athd.yaml or the
// environment says otherwise.
const (
	// defaultGCPercent lets garbage grow to four times what lives. What lives in
	// athd is a few MiB, so that this is cheap, and each decision leaves garbage:
	// by Go's default a tenth of athd's time would go into collecting it.
	defaultGCPercent = 400
	// defaultMemoryLimit is where that ends: near it garbage is collected as
	// often as need be.
	defaultMemoryLimit = 256 << 20

	maxProcs       = 1024
	minGCPercent   = 10
	maxGCPercent   = 10_000
	minMemoryLimit = 64 << 20
)

// RuntimeSettings are those of the Go runtime. GOMAXPROCS, GOGC and GOMEMLIMIT
// in the environment win over them.
type RuntimeSettings struct {
	MaxProcs    int   // 0: half of the processors that Go would take, one at least
	GCPercent   int   // as GOGC
	MemoryLimit int64 // in bytes, as GOMEMLIMIT
}

// runtime reads how many processors and how much memory athd takes.
func (l *loader) runtime() {
	c, s := &l.c.Runtime, &l.s.Runtime
	if c.MaxProcs != nil {
		if s.MaxProcs = *c.MaxProcs; s.MaxProcs < 1 || s.MaxProcs > maxProcs {
			l.Fail(fmt.Sprintf("want a number of processors from 1 to %d", maxProcs), "runtime", "max_procs")
		}
	}
	s.GCPercent = defaultGCPercent
	if c.GCPercent != nil {
		if s.GCPercent = *c.GCPercent; s.GCPercent < minGCPercent || s.GCPercent > maxGCPercent {
			l.Fail(fmt.Sprintf("want a percentage from %d to %d", minGCPercent, maxGCPercent), "runtime", "gc_percent")
		}
	}
	s.MemoryLimit = defaultMemoryLimit
	if c.MemoryLimit != "" {
		n, err := parseSize(c.MemoryLimit)
		switch {
		case err != nil:
			l.Fail(err.Error(), "runtime", "memory_limit")
		case n < minMemoryLimit:
			l.Fail("want 64MiB at least", "runtime", "memory_limit")
		}
		s.MemoryLimit = n
	}
}

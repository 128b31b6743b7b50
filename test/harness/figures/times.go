package figures

import (
	"fmt"
	"slices"
	"time"
)

// Times are how long something took, each time.
type Times []time.Duration

// At is the time that this share of them is not above.
func (t Times) At(share float64) time.Duration {
	sorted := slices.Sorted(slices.Values(t))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)].Round(10 * time.Microsecond)
}

// P99 is At(0.99).
func (t Times) P99() time.Duration { return t.At(0.99) }

// String says what a table says of them.
func (t Times) String() string {
	return fmt.Sprintf("median %v, p99 %v, worst %v of %d", t.At(0.5), t.P99(), t.At(1), len(t))
}

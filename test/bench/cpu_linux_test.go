package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpu is the processor time that a process has used so far. It drifts less than
// throughput where others share the machine.
func cpu(pid int) time.Duration {
	var now unix.Timespec
	// The clock of another process: clock_getcpuclockid(3), as Linux encodes it.
	const schedClock = 2
	if pid == 0 { // which would be this process
		return 0
	}
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}

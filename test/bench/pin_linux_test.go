package bench

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// envoysProcessor tells the benchmark, which starts itself again to get there,
// which processor it left for Envoy, of how many.
const envoysProcessor = "ATHD_BENCH_ENVOYS_PROCESSOR"

// leaveOne leaves the last processor to Envoy: this process and all that it
// will start run on the others. With less than two of them it does nothing.
//
// Linux likes to wake a server on the processor of who wrote to it, so that
// Envoy's one worker would be stopped to let the server run while another
// processor idles. How often it does that would be most of what is measured.
func leaveOne() error {
	var all, rest unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	last := -1
	for cpu, left := 0, all.Count(); left > 0; cpu++ {
		if all.IsSet(cpu) {
			left--
			last = cpu
		}
	}
	if os.Getenv(envoysProcessor) != "" || all.Count() < 2 {
		return nil
	}
	rest = all
	rest.Clear(last)
	runtime.LockOSThread()
	if err := unix.SchedSetaffinity(0, &rest); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// A process that begins on this thread has all its threads there.
	return syscall.Exec(self, os.Args, append(os.Environ(), fmt.Sprintf("%s=%d/%d", envoysProcessor, last, all.Count())))
}

// pinned moves a running Envoy to the processor that was left to it, and says
// so for the header of the results.
func pinned(t testing.TB, pid int) string {
	t.Helper()
	left, of, _ := strings.Cut(os.Getenv(envoysProcessor), "/")
	if left == "" {
		return fmt.Sprintf("%d processors, shared by all", runtime.NumCPU())
	}
	cpu, err := strconv.Atoi(left)
	if err != nil {
		t.Fatal(err)
	}
	var set unix.CPUSet
	set.Set(cpu)
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil {
			t.Fatalf("Envoy's thread %d stays where it is: %v", id, err)
		}
	}
	return of + " processors, one of them Envoy's alone"
}

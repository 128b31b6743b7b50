// Package addprovider adds, changes and removes providers while athd and Envoy
// run: as the guide does it, by curl, with the TypeScript example as the agent;
// and many times, on two athd behind an Envoy each, to see how long it takes
// until calls through either Envoy go by it.
//
// In make test there are a few rounds, and times are bounded only by what would
// be a fault. make bench-runtime has all of them, with their goals.
package addprovider

import (
	"os"
	"strconv"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

func TestMain(m *testing.M) { stage.Main(m) }

// full reports whether the figures are to be had whole, and held to their goals.
func full() bool { return os.Getenv("ATHD_RUNTIME_FULL") != "" }

// size is how many there are of something: few in make test.
func size(t testing.TB, name string, few, all int) int {
	t.Helper()
	if text := os.Getenv(name); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s is %q", name, text)
		}
		return n
	}
	if full() {
		return all
	}
	return few
}

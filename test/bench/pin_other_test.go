//go:build !linux

package bench

import (
	"fmt"
	"runtime"
	"testing"
)

func leaveOne() error { return nil }

func pinned(testing.TB, int) string {
	return fmt.Sprintf("%d processors, shared by all", runtime.NumCPU())
}

package stage

import (
	"os/exec"
	"testing"
)

// StartAthd runs athd on dir/athd.yaml, beside others if need be, and returns
// when it says on its admin address that it is ready. [Start] does all of it
// for one.
func StartAthd(t testing.TB, dir, admin string) *Athd {
	t.Helper()
	return startAthd(t, dir, admin, true)
}

// StartOlder is [StartAthd] for the binary of an athd of before. It starts it with
// -config, which all of them know.
func StartOlder(t testing.TB, binary, dir, admin string) *Athd {
	t.Helper()
	return startAthd(t, dir, admin, true, func(c *exec.Cmd) {
		c.Path = binary
		c.Args[0], c.Args[2] = binary, "-config"
	})
}

package stage

import "testing"

// StartAthd runs athd on dir/athd.yaml, beside others if need be, and returns
// when it says on its admin address that it is ready. [Start] does all of it
// for one.
func StartAthd(t testing.TB, dir, admin string) *Athd {
	t.Helper()
	return startAthd(t, dir, admin, true)
}

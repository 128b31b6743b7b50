package up

import (
	"syscall"
	"testing"
)

// Only Linux ends the children of a parent that was killed.
func TestEnvoyEndsWithAnAthdThatIsKilled(t *testing.T) {
	r := start(t, "")
	r.Signal(syscall.SIGKILL)
	if code := r.Ends(); code != -1 {
		t.Errorf("exit code %d", code)
	}
	r.gone()
}

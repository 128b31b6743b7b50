package stage

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/locked"
)

// An Up is a running athd up, in a process group of its own, as a terminal
// gives it.
type Up struct {
	t      testing.TB
	cmd    *exec.Cmd
	out    locked.Buffer
	exited chan struct{}
	err    error
}

// StartUp runs athd up in a folder.
func StartUp(t testing.TB, dir string, env ...string) *Up {
	t.Helper()
	u := &Up{t: t, exited: make(chan struct{})}
	u.cmd = exec.Command(Binary(t), "up")
	u.cmd.Dir = dir
	u.cmd.Env = append(u.cmd.Environ(), env...)
	u.cmd.Stdout, u.cmd.Stderr = &u.out, &u.out
	u.cmd.SysProcAttr = diesWithParent()
	if u.cmd.SysProcAttr == nil {
		u.cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	u.cmd.SysProcAttr.Setpgid = true
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		u.err = u.cmd.Wait()
		close(u.exited)
	}()
	t.Cleanup(func() {
		syscall.Kill(-u.PID(), syscall.SIGKILL) // an error says that nobody is left
		<-u.exited
		if t.Failed() {
			t.Logf("athd up printed:\n%s", u.Printed())
		}
	})
	return u
}

// PID is athd's process id, and that of the group.
func (u *Up) PID() int { return u.cmd.Process.Pid }

// Printed is all that it has printed.
func (u *Up) Printed() string { return u.out.String() }

// Says waits until it has printed a text, and returns the rest of that line.
func (u *Up) Says(text string) string {
	u.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if _, rest, found := strings.Cut(u.Printed(), text); found && strings.Contains(rest, "\n") {
			line, _, _ := strings.Cut(rest, "\n")
			return line
		}
		select {
		case <-u.exited:
			u.t.Fatalf("athd up has ended (%v) without saying %q:\n%s", u.err, text, u.Printed())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			u.t.Fatalf("athd up does not say %q:\n%s", text, u.Printed())
		}
	}
}

// Ends waits for its end, and returns the exit code; -1 for a signal.
func (u *Up) Ends() int {
	u.t.Helper()
	select {
	case <-u.exited:
	case <-time.After(patience):
		u.t.Fatalf("athd up does not end:\n%s", u.Printed())
	}
	return u.cmd.ProcessState.ExitCode()
}

// Ended is closed when it has ended.
func (u *Up) Ended() <-chan struct{} { return u.exited }

// Press is what a terminal does with Ctrl-C: the whole group gets the signal.
func (u *Up) Press(s syscall.Signal) { u.t.Helper(); u.kill(-u.PID(), s) }

// Signal goes to athd alone.
func (u *Up) Signal(s syscall.Signal) { u.t.Helper(); u.kill(u.PID(), s) }

func (u *Up) kill(pid int, s syscall.Signal) {
	u.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		u.t.Fatal(err)
	}
}

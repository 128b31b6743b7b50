package process_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/athd/athd/internal/process"
)

func sh(t *testing.T, script string, exits chan<- *process.Process) *process.Process {
	t.Helper()
	p, err := process.Start(process.Config{
		Name: "it", Program: "/bin/sh", Args: []string{"-c", script}, Log: filepath.Join(t.TempDir(), "log"), OwnGroup: true, Exits: exits,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func until(t *testing.T, what string, there func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !there(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

func TestStopEndsAProcessAndItsLogStays(t *testing.T) {
	exits := make(chan *process.Process, 1)
	p := sh(t, "echo one; echo two; echo three >&2; exec sleep 60", exits)
	until(t, "its output", func() bool { return p.Tail(1) == "three" })
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if got := p.Tail(2); got != "two\nthree" {
		t.Errorf("tail = %q", got)
	}
	if <-exits != p || !strings.Contains(p.Err().Error(), "terminated") {
		t.Errorf("its end was not reported: %v", p.Err())
	}
}

func TestAProcessThatEndsByItselfSaysHow(t *testing.T) {
	for script, want := range map[string]string{"exit 3": "exit status 3", "exit 0": "exit status 0"} {
		exits := make(chan *process.Process, 1)
		p := sh(t, script, exits)
		if ended := <-exits; ended.Err().Error() != want {
			t.Errorf("%s: %v", script, ended.Err())
		}
		select {
		case <-p.Done():
		default:
			t.Error("it is not done")
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestProgramThatCannotStart(t *testing.T) {
	_, err := process.Start(process.Config{Name: "it", Program: "/nonexistent/it", Log: filepath.Join(t.TempDir(), "log")})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}

func TestOutputShowsWhatAFailingProgramSaid(t *testing.T) {
	_, err := process.Output(t.Context(), "/bin/sh", "-c", "echo the reason >&2; exit 1")
	if err == nil || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("err = %v", err)
	}
}

// A script that is killed leaves behind what it started, which holds the output open.
func TestOutputEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := process.Output(ctx, "/bin/sh", "-c", "sleep 20; exit 1")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "did not end in time") || time.Since(began) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

// parentOfSleep makes this test's program, started once more, the parent of a
// process that would outlive it.
const parentOfSleep = "ATHD_TEST_PARENT_OF_SLEEP"

func TestMain(m *testing.M) {
	if log := os.Getenv(parentOfSleep); log != "" {
		p, err := process.Start(process.Config{Name: "sleep", Program: "/bin/sleep", Args: []string{"60"}, Log: log})
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString(strconv.Itoa(p.ID()) + "\n")
		<-p.Done()
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A killed program stops nothing any more: the kernel does.
func TestChildEndsWithAParentThatIsKilled(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentOfSleep+"="+filepath.Join(t.TempDir(), "log"))
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	child, bad := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || bad != nil {
		t.Fatalf("the parent printed %q: %v", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	parent.Wait()
	until(t, "the child's end", func() bool { return !running(child) })
}

// running reports whether a process runs; one that nobody has waited for is
// there still, and does not.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

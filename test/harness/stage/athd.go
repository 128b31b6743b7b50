package stage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/leak"
	"github.com/athd/athd/tokenstore"
)

var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "athd-bin-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "athd")
	out, err := exec.Command("go", append(buildArgs(), "-o", path, "github.com/athd/athd/cmd/athd")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building athd: %w\n%s", err, out)
	}
	return path, nil
})

// Binary builds athd once per test process, with the race detector if the
// test has it, and returns its path. [RemoveBinary] takes it away again.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Main is for TestMain: it runs the tests and removes athd, which they built.
func Main(m *testing.M) {
	code := m.Run()
	RemoveBinary()
	os.Exit(code)
}

// RemoveBinary is for a TestMain that does more than [Main].
func RemoveBinary() {
	if path, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
}

// Run runs athd to its end and returns what it printed.
func Run(t testing.TB, dir string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	path := Binary(t) // building it may take longer than athd may run
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

// patience bounds what a process may take that is well, on a machine that has much
// else to do: what is over it hangs.
const patience = time.Minute

// NewKeyset has athd write a keyset to a file, and reads it.
func NewKeyset(t testing.TB, path string) *tokenstore.Keyset {
	t.Helper()
	if _, stderr, err := Run(t, filepath.Dir(path), "keys", "new", "-o", path); err != nil {
		t.Fatalf("athd keys new: %v\n%s", err, stderr)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tokenstore.ParseKeyset(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// An Athd is a running athd serve.
type Athd struct {
	Admin string // URL of its admin listener

	t      testing.TB
	cmd    *exec.Cmd
	logs   string // the file that it writes: what it has written is there at once
	exited chan struct{}
	err    error
}

// StartAthd runs athd on dir/athd.yaml and returns when it says on its admin address
// that it is ready. [Start] and [Replicas] do more.
func StartAthd(t testing.TB, dir, admin string, change ...func(*exec.Cmd)) *Athd {
	t.Helper()
	a := &Athd{Admin: "http://" + admin, t: t, logs: filepath.Join(t.TempDir(), "athd.log"), exited: make(chan struct{})}
	a.cmd = exec.Command(Binary(t), "serve", "--config", filepath.Join(dir, "athd.yaml"))
	logs, err := os.OpenFile(a.logs, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close() // athd has its own
	a.cmd.Stdout, a.cmd.Stderr = logs, logs
	a.cmd.SysProcAttr = diesWithParent()
	for _, f := range change {
		if f != nil {
			f(a.cmd)
		}
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		a.err = a.cmd.Wait()
		close(a.exited)
	}()
	t.Cleanup(func() {
		a.Stop()
		leak.Of(t).Check(t, map[string][]byte{"athd's log and audit events": []byte(a.Logs())})
		if t.Failed() {
			t.Logf("athd's log:\n%s", a.Logs())
		}
	})
	deadline := time.Now().Add(patience)
	for {
		status, _ := a.Get("/readyz")
		if status == http.StatusOK {
			return a
		}
		select {
		case <-a.exited:
			t.Fatalf("athd has ended: %v\n%s", a.err, a.Logs())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("athd is not ready after %v (status %d)\n%s", patience, status, a.Logs())
		}
	}
}

// Older has [StartAthd] start the binary of an athd of before, with -config, which all
// of them know.
func Older(binary string) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		c.Path = binary
		c.Args[0], c.Args[2] = binary, "-config"
	}
}

// Get asks the admin listener.
func (a *Athd) Get(path string) (status int, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.Admin+path, nil)
	if err != nil {
		return 0, ""
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(b)
}

// PID is the process' id.
func (a *Athd) PID() int { return a.cmd.Process.Pid }

// Logs returns what athd has written so far.
func (a *Athd) Logs() string {
	text, err := os.ReadFile(a.logs)
	if err != nil {
		a.t.Errorf("athd's log: %v", err)
	}
	return string(text)
}

// Signal sends a signal.
func (a *Athd) Signal(s syscall.Signal) { a.cmd.Process.Signal(s) }

// Stop asks athd to end, as an operator would, and returns how it went.
func (a *Athd) Stop() error {
	a.Signal(syscall.SIGTERM)
	select {
	case <-a.exited:
	case <-time.After(patience):
		a.cmd.Process.Kill()
		<-a.exited
		return fmt.Errorf("athd did not end within %v", patience)
	}
	return a.err
}

// Kill ends athd at once.
func (a *Athd) Kill() {
	a.cmd.Process.Kill()
	<-a.exited
}

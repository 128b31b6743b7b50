// Package examples runs the agents of the folder examples as their readers
// would, each on the packages of its own language: through a real Envoy, and
// before a server that only looks at what they send.
package examples

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
)

func TestMain(m *testing.M) { stage.Main(m) }

// patience is how long a process may take, however busy the machine is.
const patience = 3 * time.Minute

// A language is one of the agents: what to run, in a folder of its own.
type language struct {
	name    string
	command []string
	dir     string
}

// languages returns the agents, ready to run. TypeScript's is checked and
// built by its compiler first.
func languages(t *testing.T) []language {
	t.Helper()
	python, node := client(t, "clients-python"), client(t, "clients-node")
	py := language{"python", []string{python, "agent.py"}, folder(t, "python")}
	ts := language{"typescript", []string{node, "dist/agent.js"}, folder(t, "typescript")}
	place, err := filepath.EvalSymlinks(python)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(filepath.Dir(place), "node_modules"), filepath.Join(ts.dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	compile := exec.CommandContext(ctx, node, "node_modules/typescript/bin/tsc")
	compile.Dir = ts.dir
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("the TypeScript agent does not compile: %v\n%s", err, out)
	}
	return []language{py, ts}
}

// folder copies an example, so that nothing is written beside it.
func folder(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	sources, err := filepath.Glob(filepath.Join("..", "..", "..", "examples", name, "*.*"))
	if err != nil || len(sources) == 0 {
		t.Fatalf("there is no example %s: %v", name, err)
	}
	for _, path := range sources {
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(path)), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// client returns the path of what an agent runs on: in $ATHD_TOOLS or in
// .tools/bin of the checkout. Without it the test fails, unless ATHD_TEST_SKIP
// names clients, which skips it.
func client(t *testing.T, name string) string {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("ATHD_TEST_SKIP"), ","), "clients") {
		t.Skip("ATHD_TEST_SKIP names clients")
	}
	for _, dir := range []string{os.Getenv("ATHD_TOOLS"), filepath.Join("..", "..", "..", ".tools", "bin")} {
		path, err := filepath.Abs(filepath.Join(dir, name))
		if _, missing := os.Stat(path); dir != "" && err == nil && missing == nil {
			return path
		}
	}
	t.Fatalf("there is no %s: run make setup, which fetches it, or name clients in ATHD_TEST_SKIP", name)
	return ""
}

// A run is an agent at work.
type run struct {
	t     *testing.T
	lines *bufio.Scanner // what it prints
	input io.WriteCloser
	errs  bytes.Buffer
	cmd   *exec.Cmd
	seen  []string
}

// start runs the agent, which is killed with the test.
func (l language) start(t *testing.T, args ...string) *run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	r := &run{t: t, cmd: exec.CommandContext(ctx, l.command[0], slices.Concat(l.command[1:], args)...)}
	r.cmd.Dir, r.cmd.Stderr = l.dir, &r.errs
	r.cmd.WaitDelay = 5 * time.Second
	out, err := r.cmd.StdoutPipe()
	if err == nil {
		r.input, err = r.cmd.StdinPipe()
	}
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	r.lines = bufio.NewScanner(out)
	return r
}

// until reads lines up to one with this part; "" reads all.
func (r *run) until(part string) []string {
	r.t.Helper()
	for r.lines.Scan() {
		r.seen = append(r.seen, r.lines.Text())
		if part != "" && strings.Contains(r.lines.Text(), part) {
			return r.seen
		}
	}
	if part != "" {
		err := r.cmd.Wait()
		r.t.Fatalf("the agent ended (%v) before it said %q:\n%s\n%s", err, part, strings.Join(r.seen, "\n"), &r.errs)
	}
	return r.seen
}

// end reads what is left, and returns everything that was printed and how the
// agent ended.
func (r *run) end() (lines []string, stderr string, err error) {
	r.t.Helper()
	lines = r.until("")
	err = r.cmd.Wait()
	return lines, r.errs.String(), err
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(reserve.Addr(t))
	return port
}

// Package agentcli runs athctl try as agents' authors do: the built program
// against a real Envoy, athd, Redis and OAuth server, in both modes.
package agentcli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/stage"
)

// patience is how long athctl may run, however busy the machine is.
const patience = 3 * time.Minute

var athctl = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "athctl-bin-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "athctl")
	out, err := exec.Command("go", "build", "-o", path, "github.com/athd/athd/cmd/athctl").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	stage.RemoveBinary()
	if path, err := athctl(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// An author has a directory with a state file in it, and types commands.
type author struct {
	t      *testing.T
	s      *stage.Stage
	dir    string
	server string
}

func newAuthor(t *testing.T, s *stage.Stage) *author {
	t.Helper()
	return &author{t: t, s: s, dir: t.TempDir(), server: s.Public}
}

// A typed is a command that has ended.
type typed struct {
	args           []string
	stdout, stderr string
	code           int
}

func (a *author) command(ctx context.Context, args ...string) *exec.Cmd {
	a.t.Helper()
	path, err := athctl()
	if err != nil {
		a.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"try"}, args...)...)
	cmd.Dir = a.dir
	cmd.Env = append(os.Environ(), "ATHCTL_SERVER="+a.server)
	cmd.WaitDelay = time.Second
	return cmd
}

// types runs athctl try to its end.
func (a *author) types(stdin string, args ...string) typed {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	cmd := a.command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		a.t.Fatal(err)
	}
	return typed{args, stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must is types for a command that must succeed; it returns its output.
func (a *author) must(args ...string) string {
	a.t.Helper()
	r := a.types("", args...)
	if r.code != 0 {
		a.t.Fatalf("athctl try %q: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// comes makes an author whose agent has a key and publishes its document.
func comes(t *testing.T, s *stage.Stage) *author {
	t.Helper()
	a := newAuthor(t, s)
	site := httptest.NewUnstartedServer(nil)
	a.must("keygen", "--agent-id", "http://"+site.Listener.Addr().String()+"/agent.json", "--name", "An agent")
	document := a.must("identity")
	site.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, document) })
	site.Start()
	t.Cleanup(site.Close)
	return a
}

// state reads the state file.
func (a *author) state() map[string]any {
	a.t.Helper()
	text, err := os.ReadFile(a.path())
	if err != nil {
		a.t.Fatal(err)
	}
	var state map[string]any
	if err := json.Unmarshal(text, &state); err != nil {
		a.t.Fatal(err)
	}
	return state
}

func (a *author) path() string { return filepath.Join(a.dir, "athctl-agent.json") }

func (a *author) agentID() string {
	a.t.Helper()
	return a.state()["agent"].(map[string]any)["agent_id"].(string)
}

// at is what the state says of the server.
func (a *author) at() map[string]any {
	a.t.Helper()
	at, _ := a.state()["servers"].(map[string]any)[a.server].(map[string]any)
	if at == nil {
		a.t.Fatalf("the state knows nothing of %s", a.server)
	}
	return at
}

// edits changes the state file as a text.
func (a *author) edits(old, new string) {
	a.t.Helper()
	text, err := os.ReadFile(a.path())
	if err != nil {
		a.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		a.t.Fatalf("the state does not hold what should be changed")
	}
	if err := os.WriteFile(a.path(), []byte(strings.ReplaceAll(string(text), old, new)), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// decode reads the objects that a command has printed, and wants nothing else
// there.
func decode(t *testing.T, text string, into ...any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	for _, v := range into {
		if err := d.Decode(v); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("more than the %d objects that were awaited:\n%s", len(into), text)
	}
}

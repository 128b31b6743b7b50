package compose

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const root = "../../.."

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := programs(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// programs builds what the images hold.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "athd-compose-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir+"/", "./cmd/athd", "./cmd/athctl", "./cmd/athdemo")
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	return dir, cmd.Run()
})

// ours runs a program of ours to its end, in a folder.
func ours(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, name), args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// project is docker-compose.yaml with the services of every profile.
func project(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yaml")},
		cli.WithProfiles([]string{"*"}), cli.WithDiscardEnvFile)
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Services) < 8 {
		t.Fatalf("only %d services were found", len(p.Services))
	}
	return p
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// once says which services run to their end.
func once(s types.ServiceConfig) bool { return s.Restart == "" }

// program is the program of ours that the service runs, or "".
func program(s types.ServiceConfig) string {
	return map[string]string{"athd:local": "athd", "athctl:local": "athctl", "athd-demo:local": "athdemo"}[s.Image]
}

func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }

package oauthservers

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the checkout, from wherever below it a test runs.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "test", "harness", "oauthservers")); err == nil {
			return dir
		}
	}
	t.Fatal("this test does not run in a checkout")
	return ""
}

// tool returns the path of a program of tools/setup: in $ATHD_TOOLS or in
// .tools/bin of the checkout. Without it the test fails, unless ATHD_TEST_SKIP
// names its part, which skips it.
func tool(t testing.TB, part, name string) string {
	t.Helper()
	if slices.Contains(strings.FieldsFunc(os.Getenv("ATHD_TEST_SKIP"), func(r rune) bool { return r == ',' || r == ' ' }), part) {
		t.Skip("ATHD_TEST_SKIP names " + part)
	}
	for _, dir := range []string{os.Getenv("ATHD_TOOLS"), filepath.Join(root(t), ".tools", "bin")} {
		path, err := filepath.Abs(filepath.Join(dir, name))
		if _, missing := os.Stat(path); dir != "" && err == nil && missing == nil {
			return path
		}
	}
	t.Fatalf("there is no %s: run tools/setup %s, or name %s in ATHD_TEST_SKIP", name, part, part)
	return ""
}

// node runs a script of the folder npm with the packages of its lock file. A
// module is looked for beside the file that imports it: so the script runs from
// a folder that has both.
func node(script string) func(testing.TB, *Server, string) *exec.Cmd {
	return func(t testing.TB, _ *Server, _ string) *exec.Cmd {
		t.Helper()
		program, dir := tool(t, "oauth", "oauth-node"), t.TempDir()
		place, err := filepath.EvalSymlinks(filepath.Dir(followed(t, program)))
		if err == nil {
			err = os.Symlink(filepath.Join(place, "node_modules"), filepath.Join(dir, "node_modules"))
		}
		if err != nil {
			t.Fatal(err)
		}
		scripts, err := filepath.Glob(filepath.Join(root(t), "test/harness/oauthservers/npm/*.mjs"))
		if err != nil || len(scripts) == 0 {
			t.Fatalf("there are no scripts: %v", err)
		}
		for _, from := range scripts {
			text, err := os.ReadFile(from)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, filepath.Base(from)), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return exec.Command(program, filepath.Join(dir, script))
	}
}

// followed is what a link of .tools/bin leads to.
func followed(t testing.TB, link string) string {
	t.Helper()
	to, err := os.Readlink(link)
	if err != nil {
		return link
	}
	if filepath.IsAbs(to) {
		return to
	}
	return filepath.Join(filepath.Dir(link), to)
}

// A pinned version stands in a file, where an expression finds it.
type pinned struct{ file, expression string }

func (p pinned) in(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "test/harness/oauthservers", p.file))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(p.expression).FindSubmatch(text)
	if match == nil {
		t.Fatalf("%s names no version", p.file)
	}
	return string(match[1])
}

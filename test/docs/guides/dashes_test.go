package guides

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// longFlags returns the names of all flags of a program, as its completion and
// its help have them.
func longFlags(t *testing.T, words ...string) (names []string) {
	t.Helper()
	ask := func(more ...string) string {
		out, err := exec.CommandContext(t.Context(), program(t, words[0]), append(slices.Clone(words[1:]), more...)...).Output()
		if err != nil {
			t.Fatalf("%q %q: %v", words, more, err)
		}
		return string(out)
	}
	help := ask("--help")
	for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([\w-]+)`).FindAllStringSubmatch(help, -1) {
		names = append(names, m[1])
	}
	if !strings.Contains(help, " COMMAND --help says more of one.") {
		return names
	}
	below := exec.CommandContext(t.Context(), program(t, words[0]), append(append([]string{"__complete"}, words[1:]...), "")...)
	out, err := below.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if name, _, described := strings.Cut(line, "\t"); described && name != "completion" {
			names = append(names, longFlags(t, append(slices.Clone(words), name)...)...)
		}
	}
	return names
}

// What users read and copy has flags as they are written today: with two dashes
// where the name is longer than a letter. CHANGELOG and upgrading.md name the
// old spelling, which goes on working.
func TestLongFlagsAreWrittenWithTwoDashes(t *testing.T) {
	var names []string
	for _, p := range []string{"athd", "athctl", "athdemo"} {
		names = append(names, longFlags(t, p)...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, wanted := range []string{"config", "expires", "redirect-uri", "shop-secret-file", "token-file"} {
		if !slices.Contains(names, wanted) {
			t.Errorf("of the flags only %q were found", names)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) })
	old := regexp.MustCompile("(?:^|[\\s`'\"(\\[=,|])-(?:" + strings.Join(names, "|") + `)(?:[^\w-]|$)`)
	for _, wanted := range []string{"athd serve -config athd.yaml", "`-keep`", "[serve, -config, x]", `"-token-file=x"`, "ARGS=-keep"} {
		if !old.MatchString(wanted) {
			t.Errorf("%s is not noticed", wanted)
		}
	}
	others := regexp.MustCompile(`\bgo test\b|\btools/(gotest|rules)\b|\bfind \S+ -name`)
	seen := 0
	look := func(path string) {
		seen++
		for i, line := range strings.Split(read(t, path), "\n") {
			if m := old.FindString(line); m != "" && !others.MatchString(line) {
				t.Errorf("%s:%d: %q is spelt with one dash: %s", path, i+1, strings.TrimSpace(m), line)
			}
		}
	}
	for _, path := range append(pages(t), "CONTRIBUTING.md", "SECURITY.md", "Dockerfile", "Makefile", "docker-compose.yaml") {
		if path != "docs/guides/upgrading.md" {
			look(path)
		}
	}
	for _, dir := range []string{"cmd", "config", "deploy", "envoy", "examples", "internal/agentcli", "internal/remote", "tools/composetest"} {
		root := filepath.Join("..", "..", "..")
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				if d != nil && slices.Contains([]string{"testdata", "node_modules"}, d.Name()) {
					return filepath.SkipDir
				}
				return err
			}
			name, err := filepath.Rel(root, path)
			if err == nil && slices.Contains([]string{".go", ".md", ".yaml", ".py", ".ts"}, filepath.Ext(path)) && !strings.HasSuffix(path, "_test.go") {
				look(filepath.ToSlash(name))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 150 {
		t.Errorf("only %d files were read", seen)
	}
}

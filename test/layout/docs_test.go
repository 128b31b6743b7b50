package layout

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	defined = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	named   = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`")
	link    = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
)

// A document that names a test, as proof of a defence, names one that exists.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	tests := map[string]bool{}
	walk(t, "_test.go", func(_, text string) {
		for _, m := range defined.FindAllStringSubmatch(text, -1) {
			tests[m[1]] = true
		}
	})
	mentions := 0
	walk(t, ".md", func(path, text string) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			mentions++
			if !tests[m[1]] {
				t.Errorf("%s names %s, which is not there", path, m[1])
			}
		}
	})
	if len(tests) < 100 || mentions < 50 {
		t.Errorf("only %d tests and %d mentions were found", len(tests), mentions)
	}
}

// A relative link leads to a file that is there.
func TestDocumentsLinkToFilesThatExist(t *testing.T) {
	walk(t, ".md", func(path, text string) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
			}
		}
	})
}

func walk(t *testing.T, suffix string, f func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".tools", ".git", "node_modules", "venv"}, d.Name()) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, suffix) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil {
			f(path, string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

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
	defined   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	functions = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	named     = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`")
	link      = regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`)
	heading   = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fenced    = regexp.MustCompile("(?sm)^ *```.*?^ *```$")
	placed    = regexp.MustCompile("((?:`(?:Test|Fuzz|Benchmark)\\w+(?:/[^`]*)?`(?:, | and | ))+)\\(((?:\\w+/)*\\w+)[),;:]")
	inList    = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)\\w+)")
	dropped   = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
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

// A test that a document names with its directory, as in `TestX` (envoy), is
// there.
func TestDocumentsNameTestsWhereTheyAre(t *testing.T) {
	tests := map[string]bool{} // "directory name"
	walk(t, "_test.go", func(path, text string) {
		dir, err := filepath.Rel("../..", filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range functions.FindAllStringSubmatch(text, -1) {
			tests[filepath.ToSlash(dir)+" "+m[1]] = true
		}
	})
	seen := 0
	walk(t, ".md", func(path, text string) {
		for _, m := range placed.FindAllStringSubmatch(text, -1) {
			for _, name := range inList.FindAllStringSubmatch(m[1], -1) {
				seen++
				if !tests[m[2]+" "+name[1]] {
					t.Errorf("%s: %s is not in %s", path, name[1], m[2])
				}
			}
		}
	})
	if seen < 50 {
		t.Errorf("only %d tests were named with their directory", seen)
	}
}

// A relative link leads to a file that is there, and to a heading in it.
func TestDocumentsLinkToFilesAndHeadingsThatExist(t *testing.T) {
	toHeadings := 0
	walk(t, ".md", func(path, text string) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := filepath.Join(filepath.Dir(path), m[1])
			if m[1] == "" {
				target = path
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
			} else if m[2] != "" {
				toHeadings++
				if !slices.Contains(anchors(t, target), m[2]) {
					t.Errorf("%s links to %s#%s, and there is no such heading", path, m[1], m[2])
				}
			}
		}
	})
	if toHeadings < 20 {
		t.Errorf("only %d links to headings were found", toHeadings)
	}
}

// anchors returns the fragments of a document's headings, as GitHub makes them.
func anchors(t *testing.T, path string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
		all = append(all, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return all
}

// Every page is found from docs/README.md, and none is listed there twice.
func TestEveryPageStandsInTheIndex(t *testing.T) {
	index, err := os.ReadFile("../../docs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]int{}
	for _, m := range link.FindAllStringSubmatch(string(index), -1) {
		listed[filepath.Clean(m[1])]++
	}
	var pages []string
	for _, pattern := range []string{"*.md", "guides/*.md", "guides/providers/*.md", "decisions/*.md"} {
		found, err := filepath.Glob(filepath.Join("../../docs", pattern))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	for _, path := range pages {
		name, err := filepath.Rel("../../docs", path)
		if err != nil {
			t.Fatal(err)
		}
		if name != "README.md" && listed[name] != 1 {
			t.Errorf("docs/README.md has %d links to %s, want one", listed[name], name)
		}
	}
	if len(pages) < 25 {
		t.Errorf("only %d pages were found", len(pages))
	}
}

// test/README.md says of each directory what is tested there.
func TestEveryTestDirectoryIsDescribed(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, pattern := range []string{"../*", "../e2e/*", "../harness/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if info, err := os.Stat(path); err != nil || !info.IsDir() {
				continue
			}
			seen++
			name := strings.TrimPrefix(filepath.ToSlash(path), "../")
			short := strings.TrimPrefix(name, "harness/")
			if !slices.ContainsFunc([]string{name, short, name + "/…"}, func(as string) bool {
				return strings.Contains(string(page), "`"+as+"`")
			}) && name != "e2e" {
				t.Errorf("test/README.md does not say what %s is for", name)
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d directories were found", seen)
	}
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

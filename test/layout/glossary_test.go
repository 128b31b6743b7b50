package layout

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	glossaryRow  = regexp.MustCompile(`(?m)^\| \*\*(.+?)\*\* \| (.+) \| (.+) \|$`)
	glossaryPath = regexp.MustCompile("`([^`]+)`")
)

// Each term of the glossary has a meaning, and stands in each file or package
// that is named for it. Each attack is in the threat model.
func TestGlossaryTermsStandWhereItSays(t *testing.T) {
	text, err := os.ReadFile("../../docs/glossary.md")
	if err != nil {
		t.Fatal(err)
	}
	threats, err := os.ReadFile("../../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	_, attacks, _ := strings.Cut(string(text), "## Attacks")
	attacks, _, _ = strings.Cut(attacks, "\n## ")
	rows := glossaryRow.FindAllStringSubmatch(string(text), -1)
	if len(rows) < 40 {
		t.Fatalf("only %d terms", len(rows))
	}
	for i, row := range rows {
		term, meaning, where := row[1], row[2], glossaryPath.FindAllStringSubmatch(row[3], -1)
		if len(meaning) < 30 || len(where) == 0 {
			t.Errorf("%s: a meaning and a place are wanted", term)
		}
		if i > 0 && strings.EqualFold(rows[i-1][1], term) {
			t.Errorf("%s stands there twice", term)
		}
		spellings := strings.Split(strings.ToLower(term), " / ")
		for _, place := range where {
			if !contains(t, filepath.Join("../..", place[1]), spellings) {
				t.Errorf("%s does not contain %q", place[1], term)
			}
		}
		if strings.Contains(attacks, "**"+term+"**") && !hasAny(string(threats), spellings) {
			t.Errorf("docs/threat-model.md does not contain %q", term)
		}
	}
}

// hasAny looks for words, whatever their case and the line ends within them.
func hasAny(text string, spellings []string) bool {
	text = strings.ToLower(strings.Join(strings.Fields(strings.ReplaceAll(text, "//", " ")), " "))
	for _, s := range spellings {
		if regexp.MustCompile(`(^|[^a-z])` + regexp.QuoteMeta(s)).MatchString(text) {
			return true
		}
	}
	return false
}

// contains looks into a file, or into the Go files of a package and those below
// it, but not into tests.
func contains(t *testing.T, path string, spellings []string) bool {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Error(err)
		return true // said already
	}
	found := false
	err = filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || found || d.IsDir() || info.IsDir() && (!strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go")) {
			return err
		}
		text, err := os.ReadFile(path)
		found = hasAny(string(text), spellings)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

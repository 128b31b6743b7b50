package layout

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	caseRow  = regexp.MustCompile(`(?m)^\| ([FNS]-\d+) \| (.+) \| (.+) \|$`)
	caseName = regexp.MustCompile(`^(Test|Fuzz|Benchmark)\w*[FNS]\d`)
)

// docs/field-cases.md has every case that was found in the field, each in a
// sentence of its own and with a test that is there. A test's name says what
// must hold, and no number of a case.
func TestFieldCasesHaveTheirTests(t *testing.T) {
	text, err := os.ReadFile("../../docs/field-cases.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for letter, n := range map[string]int{"F": 38, "N": 6, "S": 15} {
		for i := range n {
			want = append(want, fmt.Sprintf("%s-%d", letter, i+1))
		}
	}
	rows, sentences := map[string]string{}, map[string]string{}
	for _, m := range caseRow.FindAllStringSubmatch(string(text), -1) {
		id, sentence, tests := m[1], m[2], m[3]
		if rows[id] != "" {
			t.Errorf("%s stands there twice", id)
		}
		if other := sentences[sentence]; other != "" || len(sentence) < 60 {
			t.Errorf("%s has no sentence of its own: %q (as %s)", id, sentence, other)
		}
		rows[id], sentences[sentence] = tests, id
	}
	for _, id := range want {
		if !named.MatchString(rows[id]) {
			t.Errorf("%s names no test: %q", id, rows[id])
		}
	}
	if len(rows) != len(want) {
		t.Errorf("%d cases, want %d", len(rows), len(want))
	}
	walk(t, "_test.go", func(path, text string) {
		for _, m := range defined.FindAllStringSubmatch(text, -1) {
			if caseName.MatchString(m[1]) && !strings.Contains(m[1], "S256") && !strings.Contains(m[1], "ES256") {
				t.Errorf("%s: %s has a case's number in its name", path, m[1])
			}
		}
	})
}

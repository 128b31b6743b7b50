package layout

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// largest is the most that one package may have of all code that is no test.
const largest = 0.2

// TestNoPackageIsTooLarge also prints the drawing of the imports and the lines
// of each package: go test -v -run NoPackageIsTooLarge.
func TestNoPackageIsTooLarge(t *testing.T) {
	type size struct {
		listed
		lines int
	}
	var all []size
	total := 0
	for _, p := range goList(t, "./...") {
		if topLevel(p.path()) == "test" {
			continue
		}
		s := size{listed: p}
		for _, name := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			s.lines += bytes.Count(text, []byte("\n"))
		}
		all, total = append(all, s), total+s.lines
	}
	slices.SortStableFunc(all, func(a, b size) int {
		return cmp.Or(cmp.Compare(uint(row(a.path())), uint(row(b.path()))), cmp.Compare(a.path(), b.path()))
	})
	var drawing strings.Builder
	for _, s := range all {
		var to []string
		for _, path := range s.Imports {
			if ours, ok := strings.CutPrefix(path, module); ok {
				to = append(to, ours)
			}
		}
		fmt.Fprintf(&drawing, "%6d  %-22s → %s\n", s.lines, s.path(), strings.Join(to, ", "))
		if float64(s.lines) > largest*float64(total) {
			t.Errorf("%s has %d of %d lines, more than a fifth", s.path(), s.lines, total)
		}
	}
	t.Logf("%d lines\n%s", total, drawing.String())
}

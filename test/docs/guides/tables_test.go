package guides

import (
	"regexp"
	"strings"
	"testing"
)

// A row with a cell less than its table's head shows what it says in the wrong
// column.
func TestRowsOfTablesAreWhole(t *testing.T) {
	cell, rows := regexp.MustCompile(`(^|[^\\])\|`), 0
	for _, page := range pages(t) {
		want, inCode := 0, false
		for line := range strings.Lines(read(t, page)) {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				inCode = !inCode
			}
			if inCode || !strings.HasPrefix(line, "|") {
				want = 0
				continue
			}
			rows++
			n := len(cell.FindAllString(line, -1))
			if want == 0 {
				want = n
			}
			if n != want {
				t.Errorf("%s: %d cells, where the table has %d: %.100s", page, n-1, want-1, line)
			}
		}
	}
	if rows < 300 {
		t.Errorf("only %d rows were found", rows)
	}
}

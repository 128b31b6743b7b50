package oauthservers

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/athd/athd/test/harness/oauthservers"
)

// A table says what each server does, habit by habit, and what athd makes of it.
type table struct {
	names, versions []string

	mu    sync.Mutex
	cells map[string]map[string]string // row, server
}

func newTable(servers []*oauthservers.Server) *table {
	tb := &table{cells: map[string]map[string]string{}}
	for _, s := range servers {
		tb.names, tb.versions = append(tb.names, s.Name), append(tb.versions, s.Version)
	}
	return tb
}

// says puts a cell into the table, and fails the test where it is another than
// what is known of the server.
func (w *world) says(row, got string) {
	w.t.Helper()
	w.table.mu.Lock()
	if w.table.cells[row] == nil {
		w.table.cells[row] = map[string]string{}
	}
	w.table.cells[row][w.server.Name] = got
	w.table.mu.Unlock()
	want, ok := known[w.server.Name][row]
	if !ok {
		w.t.Errorf("%s: %s: %q, and nothing is known", w.server.Name, row, got)
	} else if !strings.Contains("|"+want+"|", "|"+got+"|") { // | is or: what a race brings forth
		w.t.Errorf("%s: %s: %q, want %q", w.server.Name, row, got, want)
	}
}

func (tb *table) String() string {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	var text strings.Builder
	out := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "habit\t%s\n", strings.Join(tb.names, "\t"))
	fmt.Fprintf(out, "version\t%s\n", strings.Join(tb.versions, "\t"))
	for _, row := range rows {
		line := []string{row}
		for _, name := range tb.names {
			cell, ok := tb.cells[row][name]
			if !ok {
				cell = "not seen"
			}
			line = append(line, cell)
		}
		fmt.Fprintln(out, strings.Join(line, "\t"))
	}
	out.Flush()
	return text.String()
}

// print shows the table, and fails the test where a cell is missing.
func (tb *table) print(t *testing.T) {
	t.Helper()
	text := tb.String()
	t.Logf("\n%s", text)
	if strings.Contains(text, "not seen") {
		t.Error("a cell of the table was not seen")
	}
}

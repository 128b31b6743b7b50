package streams

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A table collects, for each kind of exchange and each event, when and how the
// client saw the end.
type table struct {
	mu      sync.Mutex
	rows    []string
	columns []string
	cells   map[[2]string][]string
}

// seen notes a cell's next part.
func (b *table) seen(row, column, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cells == nil {
		b.cells = map[[2]string][]string{}
	}
	if !slices.Contains(b.rows, row) {
		b.rows = append(b.rows, row)
	}
	if !slices.Contains(b.columns, column) {
		b.columns = append(b.columns, column)
	}
	at := [2]string{row, column}
	b.cells[at] = append(b.cells[at], text)
}

// once notes what a cell may have already.
func (b *table) once(row, column, text string) {
	b.mu.Lock()
	there := slices.Contains(b.cells[[2]string{row, column}], text)
	b.mu.Unlock()
	if !there {
		b.seen(row, column, text)
	}
}

// print logs it, in Markdown.
func (b *table) print(t *testing.T, title string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n\n| | %s |\n|---|%s\n", title, strings.Join(b.columns, " | "), strings.Repeat("---|", len(b.columns)))
	for _, row := range b.rows {
		fmt.Fprintf(&out, "| %s |", row)
		for _, column := range b.columns {
			fmt.Fprintf(&out, " %s |", strings.Join(b.cells[[2]string{row, column}], " / "))
		}
		out.WriteString("\n")
	}
	t.Log("\n" + out.String())
}

// ms is a time as a cell shows it.
func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

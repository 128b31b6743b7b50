package faults

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/athd/athd/test/harness/processor"
)

var update = flag.Bool("update", false, "write the tables of docs/ext-proc-faults.md anew")

const page = "../../../docs/ext-proc-faults.md"

// A table is what was seen: a row for each fault, a column for each moment.
type table struct {
	name    string // of its place in the page
	columns []string
	mu      sync.Mutex
	cells   map[string]map[string]string // by fault, by column
	faults  []named
}

// nobody is the fault that there is no server.
const nobody = "nobody listens"

// A named fault is one of either kind.
type named struct{ kind, name string }

func newTable(name string, columns ...string) *table {
	t := &table{name: name, columns: columns, cells: map[string]map[string]string{}}
	for _, f := range processor.Faults() {
		t.faults = append(t.faults, named{f.Kind, f.Name})
	}
	for _, f := range processor.WireFaults() {
		t.faults = append(t.faults, named{"HTTP/2", f.Name})
	}
	for _, f := range processor.Connections() {
		t.faults = append(t.faults, named{"The connection", f.Name})
	}
	t.faults = append(t.faults, named{"The connection", nobody})
	return t
}

func (b *table) set(fault, column, cell string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cells[fault] == nil {
		b.cells[fault] = map[string]string{}
	}
	b.cells[fault][column] = cell
}

// markdown writes the table: faults of one kind that end alike share a row.
func (b *table) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "| | fault | %s |\n|---|---|%s\n", strings.Join(b.columns, " | "), strings.Repeat("---|", len(b.columns)))
	for i := 0; i < len(b.faults); {
		f := b.faults[i]
		cells := b.row(f.name)
		names := []string{f.name}
		for i++; i < len(b.faults) && b.faults[i].kind == f.kind && slices.Equal(b.row(b.faults[i].name), cells); i++ {
			names = append(names, b.faults[i].name)
		}
		fmt.Fprintf(&out, "| %s | %s | %s |\n", f.kind, strings.Join(names, "; "), strings.Join(cells, " | "))
	}
	return out.String()
}

func (b *table) row(fault string) []string {
	out := make([]string, len(b.columns))
	for i, c := range b.columns {
		out[i] = b.cells[fault][c]
	}
	return out
}

// documented is what the page says of a fault; "" if nothing.
func (b *table) documented(t *testing.T, fault, column string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "<!-- "+b.name+" -->")
	rest, _, _ = strings.Cut(rest, "<!-- end of "+b.name+" -->")
	for line := range strings.Lines(rest) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		i := slices.Index(b.columns, column) + 2
		if len(cells) > i && slices.Contains(strings.Split(cells[1], "; "), fault) {
			return cells[i]
		}
	}
	return ""
}

// mustBeDocumented holds the page against what was seen.
func (b *table) mustBeDocumented(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+b.name+" -->\n", "<!-- end of "+b.name+" -->"
	before, rest, ok := strings.Cut(string(text), begin)
	had, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table %q", page, b.name)
	}
	is := "\n" + b.markdown() + "\n"
	if *update {
		if err := os.WriteFile(page, []byte(before+begin+is+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if had == is {
		return
	}
	was := strings.Split(had, "\n")
	for line := range strings.SplitSeq(is, "\n") {
		if !slices.Contains(was, line) {
			t.Errorf("%s does not say: %s", page, line)
		}
	}
	t.Errorf("the table %q of %s is not what was seen; with -update it is written anew", b.name, page)
}

// Package identityhosts plays hostile identity hosts, with their DNS, their
// TLS and their documents, against the verifier of attestations and against
// the companion.
//
// On Linux, where the kernel grants it, the tests run in a network namespace
// in which every address of IPv4 and IPv6 is this machine's own: a connection
// to any of them would arrive at a listener here and be counted, and none
// leaves the machine.
package identityhosts

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

func TestMain(m *testing.M) {
	if code, ran := runInNamespace(); ran {
		os.Exit(code)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "1000"); err != nil { // see turn
		panic(err)
	}
	resolveHere()
	os.Exit(m.Run())
}

func TestIdentityHosts(t *testing.T) {
	w := newWorld(t)
	groups := []*group{
		{name: "A-7: names", play: w.names},
		{name: "A-7: addresses in place of names", play: w.literals},
		{name: "A-7: hosts", play: w.hosts},
		{name: "A-1: documents", play: w.documents},
		{name: "A-7: through the companion", play: w.companion},
		{name: "A-6: fetches", play: w.fetches, alone: true},
	}
	for _, g := range groups {
		if g.alone {
			t.Run(g.name, func(t *testing.T) { g.play(t, &g.table) })
		}
	}
	t.Run("at once", func(t *testing.T) {
		for _, g := range groups {
			if !g.alone {
				t.Run(g.name, func(t *testing.T) {
					t.Parallel()
					g.play(t, &g.table)
				})
			}
		}
	})
	for _, port := range w.otherPorts {
		if got := port.connections(); len(got) != 0 {
			t.Errorf("A-7: connections that no agent_id named arrived at %v", got)
		}
	}
	seen := "to any address"
	if !w.everywhere {
		seen = "to 127.0.0.1 and ::1 only: no network namespace could be had, and cases that reach another address were skipped"
	}
	var all table
	for _, g := range groups {
		all.rows = append(all.rows, g.table.rows...)
	}
	t.Logf("connections are seen %s\n%s", seen, &all)
}

// A group is cases of one kind.
type group struct {
	name  string
	play  func(*testing.T, *table)
	alone bool // counts on having the machine for itself
	table table
}

// A table is what the cases of a test came to.
type table struct {
	mu   sync.Mutex
	rows []*row
}

type row struct {
	name, want, got string
	connections     int
	took            time.Duration
}

// row reserves the next line.
func (t *table) row(name, want string) *row {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &row{name: name, want: want}
	t.rows = append(t.rows, r)
	return r
}

// noise is what net/http and net put around a reason; among it, the server
// that the resolver believes to have asked.
var noise = regexp.MustCompile(` on \S+:53\b|net/http: HTTP/1.x transport connection broken: |attestation refused `)

func (t *table) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "case\t| expected\t| got\t| connections\t| time")
	for _, r := range t.rows {
		if r.got == "" {
			r.got = "skipped"
		}
		got := []rune(noise.ReplaceAllString(strings.ToValidUTF8(r.got, "?"), ""))
		if len(got) > 80 {
			got = append(got[:79], '…')
		}
		fmt.Fprintf(w, "%s\t| %s\t| %s\t| %d\t| %v\n", r.name, r.want, string(got), r.connections, r.took.Round(time.Millisecond))
	}
	w.Flush()
	return b.String()
}

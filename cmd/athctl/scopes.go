package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/athd/athd/internal/cli"
)

func runScopes(ctx context.Context, args []string, t cli.Terminal) error {
	c := newCommand("scopes", t)
	plain, err := c.ParseArgs(args)
	switch {
	case err != nil:
		return err
	case len(plain) > 1:
		return c.Wrong("want one name at most")
	}
	name := strings.Join(plain, "")
	// A server in the environment does not count: what a preset says should
	// not depend on whom one worked with before.
	if c.Given("server") {
		return c.serverScopes(ctx, name)
	}
	return c.presetScopes(name)
}

// A scopeTable is what each scope opens, to be checked by a reader.
type scopeTable struct {
	columns []string
	rows    []scopeRow
}

type scopeRow struct {
	scope string
	rules []scopeRule // none: nothing
	last  string      // what the last column says, where the rules do not
}

type scopeRule struct {
	methods, paths, upgrade []string
	last                    string
}

// print gives each path a line of its own.
func (s *scopeTable) print(out io.Writer) error {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	line := func(cells ...string) { fmt.Fprintln(w, strings.Join(cells, "\t")) }
	line(s.columns...)
	for _, row := range s.rows {
		scope, last := cli.Printable(row.scope, 256), row.last
		if len(row.rules) == 0 {
			line(scope, "nothing", "", cli.Printable(last, 300))
		}
		for _, r := range row.rules {
			methods := cli.Printable(withUpgrade(r.methods, r.upgrade), 60)
			if r.last != "" {
				last = r.last
			}
			for _, path := range r.paths {
				line(scope, methods, cli.Printable(path, 300), cli.Printable(last, 300))
				scope, methods, last = "", "", ""
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for l := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(out, strings.TrimRight(l, " \n")); err != nil {
			return err
		}
	}
	return nil
}

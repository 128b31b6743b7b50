package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/provider"
)

func newScopes(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "scopes [PRESET | PROVIDER]",
		Short:   "show what each scope opens",
		GroupID: groupChecks,
		Long: `athctl scopes: show what each scope opens

Of a preset, from athctl itself; or, with --server, of a provider by which a
running athd judges.`,
		Example: `  athctl scopes github
  athctl scopes --server https://gateway.example.com shop`,
		ValidArgsFunction: completePresets,
	})
	return c.runs(func(ctx context.Context, plain []string) error {
		if len(plain) > 1 {
			return cli.Wrong("want one name at most")
		}
		name := strings.Join(plain, "")
		// A server in the environment does not count: what a preset says should
		// not depend on whom one worked with before.
		if c.Flags().Changed("server") {
			return c.serverScopes(ctx, name)
		}
		return c.presetScopes(name)
	})
}

// completePresets offers presets. The providers of a server are not looked up:
// a shell that completes a line should send nobody's admin token anywhere.
func completePresets(c *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) == 0 && !c.Flags().Changed("server") {
		for _, p := range provider.Presets() {
			names = append(names, cobra.CompletionWithDesc(p.Name, p.Title))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
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

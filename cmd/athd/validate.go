package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/cli"
)

func newValidate(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "validate",
		Short:   "check the configuration, tell every fault",
		GroupID: groupConfigure,
		Example: "  athd validate --config athd.yaml",
	}
	path := cli.ConfigFlag(c)
	c.RunE = func(*cobra.Command, []string) error { return runValidate(*path, t) }
	return c
}

// runValidate checks a configuration as serve does, without starting.
func runValidate(path string, t terminal) error {
	read := t.snapshot(path)
	s := read.Settings
	if s == nil {
		return cli.Lines(read.Faults.Err())
	}
	fmt.Fprintf(t.Stdout, "%s: ok: %s\n", path, summary(s.Providers))
	printWarnings(t.Stdout, s)
	if s.Store.Keyset != nil { // else each process has another one
		fmt.Fprintf(t.Stdout, "digest of these files, as /readyz of an athd that has them says: %s\n", read.Digest)
	}
	for _, p := range s.Providers.All() {
		if p.Discovered {
			fmt.Fprintf(t.Stdout, "at start athd asks %s for the endpoints of %s; athctl providers check asks now\n", p.Issuer, p.ID)
		}
	}
	return nil
}

func printWarnings(w io.Writer, s *config.Settings) {
	for _, text := range s.Warnings {
		fmt.Fprintln(w, "warning:", text)
	}
}

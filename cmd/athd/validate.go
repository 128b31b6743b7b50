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
	s, err := t.load(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.Stdout, "%s: ok: %s\n", path, summary(s.Providers))
	printWarnings(t.Stdout, s)
	return nil
}

func printWarnings(w io.Writer, s *config.Settings) {
	for _, text := range s.Warnings {
		fmt.Fprintln(w, "warning:", text)
	}
}

package main

import (
	"github.com/spf13/cobra"

	"github.com/athd/athd/config/schema"
)

func newSchema(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "schema [config|providers]",
		Short:   "print the JSON Schema of athd.yaml or providers.json, for editors",
		GroupID: groupConfigure,
		Example: `  athd schema >athd.schema.json
  athd schema providers -o providers.schema.json`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"config", "providers"},
	}
	out := c.Flags().StringP("output", "o", "-", "the `file` to write; - for standard output")
	c.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) == 1 && args[0] == "providers" {
			return output(t, *out, schema.Providers(), 0o644)
		}
		return output(t, *out, schema.Config(), 0o644)
	}
	return c
}

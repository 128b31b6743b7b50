package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/version"
)

// addVersion adds the command version, and --version, which is the same.
func addVersion(root *cobra.Command, t Terminal) {
	c := &cobra.Command{
		Use:     "version",
		Short:   "print which " + root.Name() + " this is",
		Example: "  " + root.Name() + " version\n  " + root.Name() + " version -o json",
		GroupID: lastGroup(root),
	}
	format := FormatFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		if *format == JSON {
			return t.JSON(version.Of(root.Name()))
		}
		_, err := fmt.Fprint(t.Stdout, version.Of(root.Name()))
		return err
	}
	run := root.RunE
	if run == nil {
		run = missingCommand
	}
	asked := root.Flags().Bool("version", false, "print which "+root.Name()+" this is")
	root.RunE = func(c *cobra.Command, args []string) error {
		if *asked {
			_, err := fmt.Fprint(t.Stdout, version.Of(root.Name()))
			return err
		}
		return run(c, args)
	}
	root.AddCommand(c)
}

// lastGroup is where what every program has stands in the help, "" without
// groups.
func lastGroup(root *cobra.Command) string {
	if groups := root.Groups(); len(groups) > 0 {
		return groups[len(groups)-1].ID
	}
	return ""
}

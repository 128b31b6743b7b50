package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// addCompletion adds the command that prints completion scripts.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() != "completion" {
			continue
		}
		c.Use, c.GroupID = "completion", lastGroup(root)
		c.Short = "print what makes a shell complete commands, flags and values"
		for _, shell := range c.Commands() {
			shell.Short = "for " + shell.Name()
			shell.Example = "  " + root.Name() + " completion " + shell.Name()
		}
	}
}

// isCompletion reports whether it is a shell that asks how a line may go on.
func isCompletion(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// completeFiles keeps a shell from offering files where none is wanted.
func completeFiles(c *cobra.Command) {
	if c.ValidArgsFunction == nil && len(c.ValidArgs) == 0 {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if _, set := c.GetFlagCompletionFunc(f.Name); set || isSwitch(f) {
			return
		}
		complete := cobra.NoFileCompletions
		switch value, _ := pflag.UnquoteUsage(f); strings.ToLower(value) {
		case "file", "program":
			complete = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
		case "folder":
			complete = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
		}
		if err := c.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
			panic(err) // there is the flag, and it had none
		}
	})
}

// isSwitch reports whether a flag stands without a value.
func isSwitch(f *pflag.Flag) bool { return f.NoOptDefVal != "" }

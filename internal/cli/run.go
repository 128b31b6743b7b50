package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/athd/athd/strict"
)

// Run runs the program that root is the tree of, and returns the exit code.
// args are without the program's name. It adds what every program has: help,
// version and completion.
func Run(ctx context.Context, root *cobra.Command, args []string, t Terminal) int {
	prepare(root, t)
	args, old := modern(root, args)
	if len(old) > 0 {
		fmt.Fprintf(t.Stderr, "%s: warning: %s; the old spelling will be removed\n", root.Name(), strings.Join(old, ", "))
	}
	if c, rest, err := root.Find(args); !isCompletion(args) && err == nil && c.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return exit(c, noSuchCommand(c, rest[0]), t)
	}
	root.SetArgs(args)
	c, err := root.ExecuteContextC(ctx)
	return exit(c, err, t)
}

// prepare makes the whole tree behave alike.
func prepare(root *cobra.Command, t Terminal) {
	root.SetIn(t.Stdin)
	root.SetOut(t.Stdout)
	root.SetErr(t.Stderr)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { printHelp(c.OutOrStdout(), c) })
	root.SetFlagErrorFunc(wrongFlag)
	root.SetHelpCommand(newHelp())
	root.InitDefaultHelpCmd()
	markGroups(root)
	addVersion(root, t)
	addCompletion(root)
	markGroups(root)
	for c := range tree(root) {
		c.Flags().SortFlags = false
		c.Flags().BoolP("help", "h", false, "show this help")
		if c.HasSubCommands() && !c.Runnable() {
			c.RunE = missingCommand
		}
		if c.HasSubCommands() || c.Args == nil && !strings.Contains(c.Use, " ") {
			c.Args = NoArgs
		}
		if check := c.Args; check != nil {
			c.Args = func(c *cobra.Command, args []string) error {
				err := check(c, args)
				if err == nil || IsWrong(err) {
					return err
				}
				return Wrong("%v", err)
			}
		}
		completeFiles(c)
	}
}

// missingCommand is run where a command is there for those below it only.
func missingCommand(*cobra.Command, []string) error { return &usageError{} }

// tree yields a command and all that are below it.
func tree(c *cobra.Command) func(func(*cobra.Command) bool) {
	return func(yield func(*cobra.Command) bool) { walk(c, yield) }
}

func walk(c *cobra.Command, yield func(*cobra.Command) bool) bool {
	if !yield(c) {
		return false
	}
	for _, sub := range c.Commands() {
		if !walk(sub, yield) {
			return false
		}
	}
	return true
}

// NoArgs is for commands that take nothing but flags.
func NoArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Wrong("unexpected argument %q", args[0])
	}
	return nil
}

// noSuchCommand says what was probably meant.
func noSuchCommand(c *cobra.Command, name string) error {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if meant := strict.Nearest(name, names); meant != "" {
		return Wrong("no such command: %q; did you mean %s?", name, meant)
	}
	return Wrong("no such command: %q", name)
}

// wrongFlag puts an error of the flags into our words.
func wrongFlag(c *cobra.Command, err error) error {
	if unknown, is := errors.AsType[*pflag.NotExistError](err); is {
		name, written := unknown.GetSpecifiedName(), "--"+unknown.GetSpecifiedName()
		if letters := unknown.GetSpecifiedShortnames(); letters != "" {
			name, _, _ = strings.Cut(letters, "=")
			written = "-" + name
		}
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if meant := strict.Nearest(name, names); meant != "" {
			return Wrong("no such flag: %s; did you mean --%s?", written, meant)
		}
		return Wrong("no such flag: %s", written)
	}
	if missing, is := errors.AsType[*pflag.ValueRequiredError](err); is {
		return Wrong("--%s wants a value", missing.GetFlag().Name)
	}
	if bad, is := errors.AsType[*pflag.InvalidValueError](err); is {
		return Wrong("--%s: %v", bad.GetFlag().Name, bad.Unwrap())
	}
	return Wrong("%v", err)
}

package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const helpWidth = 100 // columns, in which flags are explained

// newHelp is the command help.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:    "help [COMMAND]",
		Short:  "show the help of a command",
		Hidden: true, // every help ends by saying how to get more
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			if of, rest, err := c.Root().Find(args); err == nil && len(rest) == 0 {
				for _, sub := range of.Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			of, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return noSuchCommand(of, strings.Join(rest, " "))
			}
			printHelp(c.OutOrStdout(), of)
			return nil
		},
	}
}

// printHelp tells what a command does, how it is written, and what is below it.
func printHelp(w io.Writer, c *cobra.Command) {
	text := c.Long
	if text == "" {
		text = c.CommandPath() + ": " + c.Short
	}
	fmt.Fprintf(w, "%s\n\nusage:\n", strings.TrimSpace(text))
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "  %s COMMAND [flags]\n", c.CommandPath())
	}
	if !isGroup(c) {
		fmt.Fprintf(w, "  %s [flags]\n", c.CommandPath()+strings.TrimPrefix(c.Use, c.Name()))
	}
	if c.Example != "" {
		fmt.Fprintf(w, "\nexamples:\n%s\n", strings.TrimRight(c.Example, "\n"))
	}
	printCommands(w, c)
	flags := pflag.NewFlagSet(c.Name(), pflag.ContinueOnError)
	flags.SortFlags = false
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			flags.AddFlag(f)
		}
	})
	if flags.HasAvailableFlags() {
		fmt.Fprintf(w, "\nflags:\n%s", flags.FlagUsagesWrapped(helpWidth))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n%s COMMAND --help says more of one.\n", c.CommandPath())
	}
}

// markGroups marks the commands that are there for those below them only.
func markGroups(root *cobra.Command) {
	for c := range tree(root) {
		if c.HasSubCommands() && !c.Runnable() {
			c.Annotations = map[string]string{group: ""}
		}
	}
}

const group = "athd_group"

func isGroup(c *cobra.Command) bool {
	_, is := c.Annotations[group]
	return is
}

// printCommands lists the commands below c, one line each, group by group.
func printCommands(w io.Writer, c *cobra.Command) {
	width := 0
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			width = max(width, len(sub.Name()))
		}
	}
	list := func(title, id string) {
		for _, sub := range c.Commands() {
			if !sub.IsAvailableCommand() || sub.GroupID != id {
				continue
			}
			if title != "" {
				fmt.Fprintf(w, "\n%s:\n", title)
				title = ""
			}
			fmt.Fprintf(w, "  %-*s  %s\n", width, sub.Name(), sub.Short)
		}
	}
	for _, g := range c.Groups() {
		list(g.Title, g.ID)
	}
	list("commands", "")
}

package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// ConfigFlag is --config of the commands that read athd.yaml.
func ConfigFlag(c *cobra.Command) *string {
	return c.Flags().String("config", "athd.yaml", "the configuration `file`")
}

// Obsolete adds a flag without an argument that is accepted and does nothing.
func Obsolete(c *cobra.Command, name string) {
	c.Flags().Bool(name, true, "without effect")
	f := c.Flags().Lookup(name)
	f.Hidden = true
	f.Annotations = map[string][]string{obsolete: {}}
}

// obsolete marks a flag without effect.
const obsolete = "athd_obsolete"

// A Format is how a command prints: for people or for programs.
type Format string

// The formats that there are.
const (
	Text Format = "text"
	JSON Format = "json"
)

// FormatFlag is -o of the commands that print for programs too.
func FormatFlag(c *cobra.Command) *Format {
	format := Text
	choiceP(c, (*string)(&format), "output", "o", "text for people or json for programs", string(Text), string(JSON))
	return &format
}

// Choice adds a flag that takes one of some values, and completes them. to
// holds the default.
func Choice(c *cobra.Command, to *string, name, usage string, values ...string) {
	choiceP(c, to, name, "", usage, values...)
}

func choiceP(c *cobra.Command, to *string, name, shorthand, usage string, values ...string) {
	c.Flags().VarP(&choice{to, *to, values}, name, shorthand, usage)
	Complete(c, name, values...)
}

// Complete says which values a shell may offer for a flag.
func Complete(c *cobra.Command, name string, values ...string) {
	if err := c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag, or it has values already
	}
}

// A choice is the value of a flag that takes one of some.
type choice struct {
	to      *string
	without string // the default, which may be none of them
	values  []string
}

func (c *choice) String() string { return *c.to }
func (c *choice) Type() string   { return strings.Join(c.values, "|") }

func (c *choice) Set(text string) error {
	if text != c.without && !slices.Contains(c.values, text) {
		last := len(c.values) - 1
		return errors.New("want " + strings.Join(c.values[:last], ", ") + " or " + c.values[last])
	}
	*c.to = text
	return nil
}

package cli

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
)

// A Command is one run of one of athctl's commands: its flags, where it
// writes, and the server that it may ask.
type Command struct {
	*flag.FlagSet
	Terminal
	Server, Format *string
	AllowHTTP      *bool
}

// NewCommand has no flags yet: [Command.ServerFlags] and
// [Command.FormatFlag] are those that most commands take.
func NewCommand(name string, t Terminal) *Command {
	text := "text"
	c := &Command{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), Terminal: t, Format: &text}
	c.SetOutput(t.Stderr)
	return c
}

// ServerFlags are -server and -allow-http, with their help.
func (c *Command) ServerFlags(server, allowHTTP string) {
	c.Server = c.String("server", c.Env("ATHCTL_SERVER"), server)
	c.AllowHTTP = c.Bool("allow-http", false, allowHTTP)
}

// FormatFlag is -o.
func (c *Command) FormatFlag() {
	c.Format = c.String("o", "text", "`text` for people or json for programs")
}

// ParseArgs reads flags before and behind the plain arguments, and returns those.
func (c *Command) ParseArgs(args []string) (plain []string, err error) {
	for rest := args; ; {
		if err := c.Parse(rest); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, ErrUsage // the flag set has printed it
		}
		if rest = c.Args(); len(rest) == 0 {
			break
		}
		plain, rest = append(plain, rest[0]), rest[1:]
	}
	if *c.Format != "text" && *c.Format != "json" {
		return nil, c.Wrong("-o wants text or json")
	}
	return plain, nil
}

// Given reports whether a flag is on the command line.
func (c *Command) Given(name string) (yes bool) {
	c.Visit(func(f *flag.Flag) { yes = yes || f.Name == name })
	return yes
}

// Wrong prints what is wrong with the usage.
func (c *Command) Wrong(format string, args ...any) error {
	fmt.Fprintf(c.Stderr, "%s: %s\n", c.Name(), fmt.Sprintf(format, args...))
	return ErrUsage
}

// JSON prints a value for programs.
func (c *Command) JSON(v any) error {
	e := json.NewEncoder(c.Stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
)

// A command is one run of one of athctl's commands: its flags, where it
// writes, and the server that it may ask.
type command struct {
	*flag.FlagSet
	terminal
	server, tokenFile, output *string
	allowHTTP                 *bool
}

// newCommand has the flags that every command takes.
func newCommand(name string, t terminal) *command {
	c := &command{FlagSet: flag.NewFlagSet("athctl "+name, flag.ContinueOnError), terminal: t}
	c.SetOutput(t.stderr)
	c.server = c.String("server", t.env("ATHCTL_SERVER"), "athd's public `URL`")
	c.tokenFile = c.String("token-file", t.env("ATHCTL_TOKEN_FILE"), "the `file` that holds an admin token")
	c.output = c.String("o", "text", "`text` for people or json for programs")
	c.allowHTTP = c.Bool("allow-http", false, "send the token without TLS to a host that is not this one")
	return c
}

// parse reads flags before and behind the plain arguments, and returns those.
func (c *command) parse(args []string) (plain []string, err error) {
	for rest := args; ; {
		if err := c.Parse(rest); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, errUsage // the flag set has told it
		}
		if rest = c.Args(); len(rest) == 0 {
			break
		}
		plain, rest = append(plain, rest[0]), rest[1:]
	}
	if *c.output != "text" && *c.output != "json" {
		return nil, c.wrong("-o wants text or json")
	}
	return plain, nil
}

// given reports whether a flag stands on the command line.
func (c *command) given(name string) (yes bool) {
	c.Visit(func(f *flag.Flag) { yes = yes || f.Name == name })
	return yes
}

// client returns one for the server that the flags name.
func (c *command) client() (*client, error) {
	switch {
	case *c.server == "":
		return nil, c.wrong("which server? Use -server or ATHCTL_SERVER")
	case *c.tokenFile == "":
		return nil, c.wrong("where is the admin token? Use -token-file or ATHCTL_TOKEN_FILE")
	}
	return newClient(*c.server, *c.tokenFile, *c.allowHTTP)
}

// wrong tells what is wrong with the usage.
func (c *command) wrong(format string, args ...any) error {
	fmt.Fprintf(c.stderr, "%s: %s\n", c.Name(), fmt.Sprintf(format, args...))
	return errUsage
}

func (c *command) json(v any) error {
	e := json.NewEncoder(c.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

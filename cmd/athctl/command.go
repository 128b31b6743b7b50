package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/remote"
)

// A command is an operator's command: it asks a server with an admin token.
type command struct {
	*cobra.Command
	cli.Terminal
	remote.Options
	format    *cli.Format
	tokenFile *string
}

// newCommand is a command without its flags: see [command.runs].
func newCommand(t cli.Terminal, c *cobra.Command) *command {
	return &command{Command: c, Terminal: t}
}

// runs adds the flags that every command takes, behind its own.
func (c *command) runs(run func(ctx context.Context, plain []string) error) *cobra.Command {
	c.Options = remote.AddFlags(c.Command, c.Terminal, "athd's public `URL`", "send the token without TLS to a host that is not this one")
	c.tokenFile = c.Flags().String("token-file", c.Env("ATHCTL_TOKEN_FILE"), "the `file` that holds an admin token, of athd's admin.tokens")
	c.format = cli.FormatFlag(c.Command)
	c.RunE = func(cc *cobra.Command, plain []string) error {
		err := run(cc.Context(), plain)
		if refused, ok := errors.AsType[*refusal](err); ok {
			err = fmt.Errorf("%w\nnext: %s", refused, refused.next(c.HasParent() && c.Parent().Name() == "agents"))
		}
		return err
	}
	return c.Command
}

// connect returns one for the server that the flags name.
func (c *command) connect() (*adminClient, error) {
	switch {
	case *c.Server == "":
		return nil, cli.Wrong("which server? Use --server or ATHCTL_SERVER")
	case *c.tokenFile == "":
		return nil, cli.Wrong("where is the admin token? Use --token-file or ATHCTL_TOKEN_FILE")
	}
	return newClient(*c.Server, *c.tokenFile, *c.AllowHTTP)
}

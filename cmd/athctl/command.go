package main

import (
	"github.com/athd/athd/internal/cli"
)

// A command is one run of an operator's command: it asks a server with an admin
// token.
type command struct {
	*cli.Command
	tokenFile *string
}

// newCommand has the flags that every command takes.
func newCommand(name string, t cli.Terminal) *command {
	c := cli.NewCommand("athctl "+name, t)
	c.ServerFlags("athd's public `URL`", "send the token without TLS to a host that is not this one")
	c.FormatFlag()
	return &command{Command: c, tokenFile: c.String("token-file", t.Env("ATHCTL_TOKEN_FILE"), "the `file` that holds an admin token")}
}

// connect returns one for the server that the flags name.
func (c *command) connect() (*adminClient, error) {
	switch {
	case *c.Server == "":
		return nil, c.Wrong("which server? Use -server or ATHCTL_SERVER")
	case *c.tokenFile == "":
		return nil, c.Wrong("where is the admin token? Use -token-file or ATHCTL_TOKEN_FILE")
	}
	return newClient(*c.Server, *c.tokenFile, *c.AllowHTTP)
}

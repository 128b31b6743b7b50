package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

func newUsers(t cli.Terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "users",
		Short:   "end all that a user allowed",
		GroupID: groupAgents,
		Example: "  athctl users end 583231 --provider github",
	}
	c.AddCommand(newEndUser(t))
	return c
}

func newEndUser(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:   "end USER",
		Short: "end all connections of a user, at a provider or at all",
		Long: `end ends all connections of a user, who is named by the id at the provider, as
athctl connections list shows it. Ids are a provider's own: without --provider
everybody is meant who has this id at any of them.

What the user allowed before is ended, also where the consent finishes only now. What
the user allows in an authorization that begins later is a new connection.

A user without any connection is no fault: the exit code is 0, so that a script may give
the command twice; ended_connections of -o json is how many ended. Quote an id that holds
a character of the shell's, such as the | of Auth0.`,
		Example: `  athctl users end 583231 --provider github
  athctl users end 'auth0|507f1f77bcf86cd799439011'`,
	})
	provider := c.Flags().String("provider", "", "at this `PROVIDER` only")
	return c.runs(func(ctx context.Context, plain []string) error {
		switch {
		case len(plain) != 1 || plain[0] == "":
			return cli.Wrong("want one USER, the id at the provider; athctl connections list shows them")
		case *provider == "" && c.Flags().Changed("provider"):
			return cli.Wrong("--provider is empty")
		}
		return c.endUser(ctx, api.UserEndRequest{User: plain[0], Provider: *provider})
	})
}

// endUser asks until all of it is done: one request goes on for some seconds only.
func (c *command) endUser(ctx context.Context, request api.UserEndRequest) error {
	server, err := c.connect()
	if err != nil {
		return err
	}
	total := api.UserEndReply{User: request.User, Provider: request.Provider}
	for pages := (cursors{}); ; {
		var reply api.UserEndReply
		if err := server.ask(ctx, http.MethodPost, ath.AdminUserEndPath, request, &reply); err != nil {
			if total.Ended > 0 {
				fmt.Fprintf(c.Stderr, "athctl: %d connections have ended before this; give the command again\n", total.Ended)
			}
			return err
		}
		total.Ended += reply.Ended
		for what, n := range reply.AtProvider {
			if total.AtProvider == nil {
				total.AtProvider = map[string]int{}
			}
			total.AtProvider[what] += n
		}
		if reply.Next == "" {
			break
		}
		if err := pages.next(reply.Next); err != nil {
			return err
		}
		request.Cursor = reply.Next
	}
	user, where := cli.Printable(request.User, api.MaxUserBytes), "all providers"
	if request.Provider != "" {
		where = cli.Printable(request.Provider, 127)
	}
	if total.Ended == 0 {
		// First, and to stderr: where the shell cut the id at a |, nobody reads stdout.
		fmt.Fprintf(c.Stderr, "athctl: no connection is of the user %q: is that the whole id? athctl connections list shows them; one that holds a | must be quoted\n", user)
	}
	if *c.format == cli.JSON {
		return c.JSON(total)
	}
	if total.Ended == 0 {
		if request.Provider == "" {
			where = "any provider"
		}
		_, err = fmt.Fprintf(c.Stdout, "there is no connection of %s at %s: all have ended, or there never was one.\n", user, where)
		return err
	}
	what := "connections"
	if total.Ended == 1 {
		what = "connection"
	}
	_, err = fmt.Fprintf(c.Stdout, "ended %d %s of %s at %s.\n", total.Ended, what, user, where)
	for _, word := range slices.Sorted(maps.Keys(total.AtProvider)) {
		if err == nil {
			_, err = fmt.Fprintf(c.Stdout, "at the provider, of %d: %s.\n", total.AtProvider[word], atProvider(word))
		}
	}
	return err
}

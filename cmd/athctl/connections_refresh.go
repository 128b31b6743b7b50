package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

func newRefreshConnection(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:   "refresh CONNECTION_ID",
		Short: "get a new token from the provider now",
		Long: `refresh gets the user's next token from the provider, ahead of time. It also
tries one whose refresh the provider has refused: a user who was disabled may be enabled
again. The refused refresh token is kept for a day.

The provider is asked once in ten seconds at most for one connection, by all athd together,
however often this is called. The exit code is 0 where there is a fresh token (outcome
refreshed or fresh), else 1: not_refreshable, refused, provider_away, store_away, under_way
or gone. None of these loses the user's grant; what is under way goes on.`,
		Example: `  athctl connections refresh CONNECTION_ID
  athctl connections refresh CONNECTION_ID -o json`,
	})
	return c.runs(func(ctx context.Context, plain []string) error {
		id, err := connectionID(plain)
		if err != nil {
			return err
		}
		server, err := c.connect()
		if err != nil {
			return err
		}
		var reply api.ConnectionRefreshReply
		if err := server.ask(ctx, http.MethodPost, ath.AdminConnectionsPath+"/"+id+"/refresh", nil, &reply); err != nil {
			return err
		}
		if *c.format == cli.JSON {
			err = c.JSON(reply)
		} else {
			_, err = fmt.Fprintf(c.Stdout, "%s: %s.\n", cli.Printable(reply.Outcome, 20), cli.Printable(reply.Said, 500))
		}
		if err == nil && reply.Outcome != api.RefreshDone && reply.Outcome != api.RefreshFresh {
			return cli.ErrFound
		}
		return err
	})
}

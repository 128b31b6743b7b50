package main

import (
	"context"
	"fmt"
	"net/http"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

func newWhoAmI(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "whoami",
		Short:   "say whose admin token this is, and what it is good for",
		GroupID: groupChecks,
		Long: `whoami says whose the admin token of --token-file is at the athd that answers, by
its admin.tokens: the operator's name, as it stands in the audit log, the role,
whether that is told who users are, and until when the token works.

A viewer looks; an approver also decides about agents and takes rights away; an
admin also decides where users' tokens go: providers and their endpoints.`,
		Example: `  athctl whoami
  athctl whoami -o json`,
	})
	return c.runs(func(ctx context.Context, _ []string) error {
		server, err := c.connect()
		if err != nil {
			return err
		}
		var me api.WhoAmI
		if err := server.ask(ctx, http.MethodGet, ath.AdminWhoAmIPath, nil, &me); err != nil {
			return err
		}
		if *c.format == cli.JSON {
			return c.JSON(me)
		}
		w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
		line := func(name, value string) { fmt.Fprintf(w, "%s:\t%s\n", name, value) }
		line("operator", cli.Printable(me.Name, 4096))
		line("role", cli.Printable(string(me.Role), 40))
		users := "no"
		if me.SeesUsers {
			users = "yes"
		}
		line("sees users", users)
		expires := "never"
		if me.Expires != "" {
			expires = cli.Printable(me.Expires, 40)
		}
		line("token expires", expires)
		return w.Flush()
	})
}

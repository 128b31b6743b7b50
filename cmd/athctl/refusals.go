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

func newRefusals(t cli.Terminal) *cobra.Command {
	list := func(c *cobra.Command) *cobra.Command {
		one := newCommand(t, c)
		return one.runs(func(ctx context.Context, _ []string) error { return one.runRefusals(ctx) })
	}
	c := list(&cobra.Command{
		Use:     "refusals",
		Short:   "list what was refused last, and why",
		GroupID: groupChecks,
		Long: `refusals lists what the athd that answers refused last: calls and steps of the
handshake, the newest first. Other replicas know theirs; the audit log has all.
athctl refusals list is another name for it, since other lists are called so.`,
		Example: `  athctl refusals
  athctl refusals list -o json`,
	})
	c.AddCommand(list(&cobra.Command{Use: "list", Short: "another name for athctl refusals", Example: "  athctl refusals list"}))
	return c
}

func (c *command) runRefusals(ctx context.Context) error {
	server, err := c.connect()
	if err != nil {
		return err
	}
	var all api.RefusalList
	if err := server.ask(ctx, http.MethodGet, ath.AdminRefusalsPath, nil, &all); err != nil {
		return err
	}
	if *c.format == cli.JSON {
		return c.JSON(all)
	}
	fmt.Fprintf(c.Stdout, "what %s refused since %s, the newest first:\n", cli.Printable(all.Replica, 64), cli.Printable(all.Since, 40))
	if len(all.Refusals) == 0 {
		_, err = fmt.Fprintln(c.Stdout, "nothing.")
		return err
	}
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TIME\tCOUNT\tCODE\tREASON\tPROVIDER\tMETHOD\tPATH\tAGENT ID\tDECISION")
	for _, r := range all.Refusals {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", cli.Printable(r.Time, 40), r.Count, cli.Printable(string(r.Code), 60), cli.Printable(r.Reason, 60),
			orDash(r.Provider, 64), cli.Printable(r.Method, 20), cli.Printable(r.Path, 120), orDash(r.Agent, 120), cli.Printable(r.DecisionID, 60))
	}
	return w.Flush()
}

// orDash shows that there is nothing.
func orDash(s string, most int) string {
	if s == "" {
		return "-"
	}
	return cli.Printable(s, most)
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

func newStreams(t cli.Terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "streams",
		Short:   "list what agents hold open",
		GroupID: groupAgents,
		Long: `athctl streams: list what agents hold open

With envoy.streams: watched, athd watches long exchanges: server-sent events,
WebSockets, gRPC streams, uploads and downloads. Each ends with what it stands on:
athctl agents suspend ends all of an agent's, athctl connections end those of what
one user allowed it.`,
		Example: `  athctl streams list --agent CLIENT_ID`,
	}
	c.AddCommand(newListStreams(t))
	return c
}

func newListStreams(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:   "list",
		Short: "list the streams that the athd that answers watches",
		Long: `list prints the exchanges that the athd that answers watches, the newest first,
a thousand of them at most. Other replicas know theirs.`,
		Example: `  athctl streams list
  athctl streams list --agent CLIENT_ID -o json`,
	})
	agent := c.Flags().String("agent", "", "only those of this agent: its `CLIENT_ID`, or its agent id")
	return c.runs(func(ctx context.Context, _ []string) error {
		query := url.Values{"limit": {pageSize}}
		if *agent != "" {
			query.Set("agent", *agent)
		} else if c.Flags().Changed("agent") {
			return cli.Wrong("--agent is empty")
		}
		return c.runListStreams(ctx, query)
	})
}

func (c *command) runListStreams(ctx context.Context, query url.Values) error {
	server, err := c.connect()
	if err != nil {
		return err
	}
	var all api.StreamList
	if err := server.ask(ctx, http.MethodGet, ath.AdminStreamsPath+"?"+query.Encode(), nil, &all); err != nil {
		return err
	}
	if *c.format == cli.JSON {
		return c.JSON(all)
	}
	if len(all.Streams) == 0 {
		why := ""
		if !all.Watched {
			why = ": envoy.streams in athd.yaml is not watched"
		}
		_, err := fmt.Fprintf(c.Stdout, "%s watches %d streams%s.\n", cli.Printable(all.Replica, 64), all.All, why)
		return err
	}
	fmt.Fprintf(c.Stdout, "%s watches %d streams, the newest first:\n", cli.Printable(all.Replica, 64), all.All)
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SINCE\tUNTIL\tPROVIDER\tSCOPE\tAGENT ID\tCONNECTION ID\tDECISION")
	for _, s := range all.Streams {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", cli.Printable(s.Since, 40), cli.Printable(s.Expires, 40), cli.Printable(s.Provider, 64),
			cli.Printable(s.Scope, 64), cli.Printable(s.Agent, 120), cli.Printable(s.Connection, 60), cli.Printable(s.DecisionID, 60))
	}
	return w.Flush()
}

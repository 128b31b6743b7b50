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

func newHosts(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "hosts",
		Short:   "list the hosts that are suspended",
		Example: "  athctl agents hosts",
	})
	return c.runs(func(ctx context.Context, _ []string) error { return c.runHosts(ctx) })
}

func (c *command) runHosts(ctx context.Context) error {
	server, err := c.connect()
	if err != nil {
		return err
	}
	var all api.HostList
	if err := server.ask(ctx, http.MethodGet, ath.AdminHostsPath, nil, &all); err != nil {
		return err
	}
	if *c.format == cli.JSON {
		return c.JSON(all)
	}
	if len(all.Hosts) == 0 {
		_, err = fmt.Fprintln(c.Stdout, "no hosts are suspended.")
		return err
	}
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tSINCE\tBY")
	for _, h := range all.Hosts {
		fmt.Fprintf(w, "%s\t%s\t%s\n", cli.Printable(h.Host, 260), cli.Printable(h.Since, 40), cli.Printable(h.By, 60))
	}
	return w.Flush()
}

// ofHost suspends or resumes all agents of a host.
func (c *command) ofHost(ctx context.Context, verb, host string) error {
	pattern, err := ath.ParseHostPattern(host)
	if err != nil {
		return cli.Wrong("--host: %v", err)
	}
	server, err := c.connect()
	if err != nil {
		return err
	}
	request, path := api.HostRequest{Host: pattern.String()}, ath.AdminHostsPath+"/"+verb
	if verb == "resume" {
		var reply api.HostResumeReply
		if err := server.ask(ctx, http.MethodPost, path, request, &reply); err != nil {
			return err
		}
		if *c.format == cli.JSON {
			return c.JSON(reply)
		}
		_, err = fmt.Fprintf(c.Stdout, "resumed %s: agents there can register again.\n"+
			"%d of its agents are still suspended, each until athctl agents resume CLIENT_ID.\n", cli.Printable(reply.Host, 260), reply.Suspended)
		return err
	}
	var reply api.HostSuspendReply
	if err := server.ask(ctx, http.MethodPost, path, request, &reply); err != nil {
		return err
	}
	if *c.format == cli.JSON {
		return c.JSON(reply)
	}
	_, err = fmt.Fprintf(c.Stdout, "suspended %s: %d agents now, %d were suspended before. No agent there can register, or get a token.\n",
		cli.Printable(reply.Host, 260), reply.Suspended, reply.Already)
	return err
}

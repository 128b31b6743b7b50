package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

// table shows agents to people, one per line.
func (c *command) table(agents []api.Agent, status string) error {
	if len(agents) == 0 {
		nobody := "no agents are registered."
		switch status {
		case "":
		case "pending":
			nobody = "nothing waits for you."
		default:
			nobody = "no agents are " + status + "."
		}
		_, err := fmt.Fprintln(c.Stdout, nobody)
		return err
	}
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLIENT ID\tSTATUS\tNAME\tAGENT ID\tUNDER REVIEW\tAPPROVED UNTIL")
	for _, a := range agents {
		var waiting []string
		for _, p := range a.Providers {
			for _, s := range p.Pending {
				waiting = append(waiting, p.ID+"/"+s)
			}
		}
		until := "-"
		if a.Status == api.StatusApproved {
			until = a.ApprovalExpires
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", cli.Printable(a.ClientID, 60), cli.Printable(a.Status, 20),
			dash(cli.Printable(a.Name, 30)), cli.Printable(a.AgentID, 80), dash(cli.Printable(strings.Join(waiting, " "), 80)), cli.Printable(until, 30))
	}
	return w.Flush()
}

// details shows one agent to people. What an agent says of itself says so.
func (c *command) details(a *api.Agent) error {
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s:\t%s\n", name, value)
		}
	}
	line("client id", cli.Printable(a.ClientID, 60))
	line("agent id", cli.Printable(a.AgentID, 2048))
	line("status", cli.Printable(a.Status, 20))
	if slices.ContainsFunc(a.Providers, func(p api.AgentApproval) bool { return len(p.Approved) > 0 }) {
		line("approved until", cli.Printable(a.ApprovalExpires, 30)+ended(a.ApprovalExpires))
	}
	line("registered", cli.Printable(a.Registered, 30))
	whose := "its own words"
	if a.Pinned {
		whose = "named by your operator"
	}
	line("name ("+whose+")", cli.Printable(a.Name, 200))
	line("developer ("+whose+")", cli.Printable(strings.Trim(strings.Join([]string{a.Developer.Name, a.Developer.ID, a.Developer.Contact}, ", "), ", "), 300))
	line("purpose (its own words)", cli.Printable(a.Purpose, 512))
	for _, u := range a.RedirectURIs {
		line("redirects to", cli.Printable(u, 2048))
	}
	for _, p := range a.Providers {
		id := cli.Printable(p.ID, 64)
		line(api.StatusApproved, cli.Scopes(id, p.Approved))
		line("under review", cli.Scopes(id, p.Pending))
		denied := cli.Scopes(id, p.Denied)
		if denied != "" && p.DenialReason != "" {
			denied += " (" + cli.Printable(p.DenialReason, 512) + ")"
		}
		line("denied", denied)
	}
	return w.Flush()
}

func ended(expires string) string {
	if t, err := time.Parse(time.RFC3339, expires); err == nil && !time.Now().Before(t) {
		return " (over)"
	}
	return ""
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

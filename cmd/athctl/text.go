package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// table shows agents to people, one per line.
func (c *command) table(agents []agent, status string) error {
	if len(agents) == 0 {
		nobody := "no agents are registered."
		switch status {
		case "":
		case "pending":
			nobody = "nothing waits for you."
		default:
			nobody = "no agents are " + status + "."
		}
		_, err := fmt.Fprintln(c.stdout, nobody)
		return err
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLIENT ID\tSTATUS\tNAME\tAGENT ID\tUNDER REVIEW\tAPPROVED UNTIL")
	for _, a := range agents {
		var waiting []string
		for _, p := range a.Providers {
			for _, s := range p.Pending {
				waiting = append(waiting, p.ID+"/"+s)
			}
		}
		until := "-"
		if a.Status == "approved" {
			until = a.ApprovalExpires
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", printable(a.ClientID, 60), printable(a.Status, 20),
			dash(printable(a.Name, 30)), printable(a.AgentID, 80), dash(printable(strings.Join(waiting, " "), 80)), printable(until, 30))
	}
	return w.Flush()
}

// details shows one agent to people. What an agent says of itself says so.
func (c *command) details(a *agent) error {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s:\t%s\n", name, value)
		}
	}
	line("client id", printable(a.ClientID, 60))
	line("agent id", printable(a.AgentID, 2048))
	line("status", printable(a.Status, 20))
	if slices.ContainsFunc(a.Providers, func(p decided) bool { return len(p.Approved) > 0 }) {
		line("approved until", printable(a.ApprovalExpires, 30)+ended(a.ApprovalExpires))
	}
	line("registered", printable(a.Registered, 30))
	whose := "its own words"
	if a.Pinned {
		whose = "named by your operator"
	}
	line("name ("+whose+")", printable(a.Name, 200))
	line("developer ("+whose+")", printable(strings.Trim(strings.Join([]string{a.Developer.Name, a.Developer.ID, a.Developer.Contact}, ", "), ", "), 300))
	line("purpose (its own words)", printable(a.Purpose, 512))
	for _, u := range a.RedirectURIs {
		line("redirects to", printable(u, 2048))
	}
	for _, p := range a.Providers {
		id := printable(p.ID, 64)
		line("approved", list(id, p.Approved))
		line("under review", list(id, p.Pending))
		denied := list(id, p.Denied)
		if denied != "" && p.Reason != "" {
			denied += " (" + printable(p.Reason, 512) + ")"
		}
		line("denied", denied)
	}
	return w.Flush()
}

func list(provider string, scopes []string) string {
	out := make([]string, len(scopes))
	for i, s := range scopes {
		out[i] = provider + "/" + printable(s, 128)
	}
	return strings.Join(out, " ")
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

// printable keeps what agents and servers say from steering a terminal:
// control characters, and those that turn or hide text, become '?'.
func printable(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

func newConnections(t cli.Terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "connections",
		Short:   "list, show, refresh and end what users allowed agents",
		GroupID: groupAgents,
		Long: `athctl connections: list, show, refresh and end what users allowed agents

A connection is what one user allowed one agent at one provider. It is named by
an id that is no token: ath_conn_…, as list shows it.`,
		Example: `  athctl connections list --provider github
  athctl connections show CONNECTION_ID
  athctl connections refresh CONNECTION_ID
  athctl connections end CONNECTION_ID`,
	}
	c.AddCommand(newListConnections(t), newShowConnection(t), newRefreshConnection(t), newEndConnection(t))
	return c
}

func newListConnections(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:   "list",
		Short: "list connections, all or some",
		Example: `  athctl connections list
  athctl connections list --agent CLIENT_ID
  athctl connections list --user 583231 --provider github -o json`,
	})
	agent := c.Flags().String("agent", "", "only those of this agent: its `CLIENT_ID`, or its agent id")
	user := c.Flags().String("user", "", "only those of the user with this `ID` at the provider")
	provider := c.Flags().String("provider", "", "only those at this `PROVIDER`")
	return c.runs(func(ctx context.Context, _ []string) error {
		query := url.Values{"limit": {pageSize}}
		for name, value := range map[string]string{"agent": *agent, "user": *user, "provider": *provider} {
			if value != "" {
				query.Set(name, value)
			} else if c.Flags().Changed(name) {
				return cli.Wrong("--%s is empty", name)
			}
		}
		return c.runListConnections(ctx, query)
	})
}

func (c *command) runListConnections(ctx context.Context, query url.Values) error {
	server, err := c.connect()
	if err != nil {
		return err
	}
	all := api.ConnectionList{Connections: []api.Connection{}, Unreadable: []string{}}
	seen := map[string]bool{} // what is used meanwhile may be on two pages
	for pages := (cursors{}); ; {
		var page api.ConnectionList
		if err := server.ask(ctx, http.MethodGet, ath.AdminConnectionsPath+"?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		for _, one := range page.Connections {
			if !seen[one.ID] {
				all.Connections = append(all.Connections, one)
			}
			seen[one.ID] = true
		}
		for _, id := range page.Unreadable {
			if !seen[id] {
				all.Unreadable = append(all.Unreadable, id)
			}
			seen[id] = true
		}
		if page.Next == "" {
			break
		}
		if err := pages.next(page.Next); err != nil {
			return err
		}
		query.Set("cursor", page.Next)
	}
	for _, id := range all.Unreadable {
		fmt.Fprintf(c.Stderr, "athctl: warning: the record of %s does not open: another keyset sealed it, or it was tampered with; athctl connections end takes it away\n", cli.Printable(id, 80))
	}
	if *c.format == cli.JSON {
		return c.JSON(all)
	}
	if len(all.Connections) == 0 {
		_, err := fmt.Fprintln(c.Stdout, "there are no such connections.")
		return err
	}
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	header, stands := "CONNECTION\tSTATE\tPROVIDER\tUSER\tAGENT ID\tTOKENS\tSINCE\tLAST USED", slices.ContainsFunc(all.Connections, standing)
	if stands {
		header += "\tSTANDS UNTIL"
	}
	fmt.Fprintln(w, header)
	for _, one := range all.Connections {
		line := fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s", cli.Printable(one.ID, 40), cli.Printable(one.State, 20), cli.Printable(one.Provider, 64),
			userText(&one, 60), cli.Printable(agentsOf(&one), 80), one.Tokens, orDash(one.Since, 30), orDash(one.LastUsed, 30))
		if stands {
			line += "\t" + orDash(standsUntil(one.Renewals), 30)
		}
		fmt.Fprintln(w, line)
	}
	return w.Flush()
}

func standing(one api.Connection) bool { return len(one.Renewals) > 0 }

// standsUntil is when the last of them ends that nobody uses any more.
func standsUntil(all []api.ConnectionRenewal) (last string) {
	for _, r := range all {
		last = max(last, min(r.Until, r.IdleUntil)) // RFC 3339, in UTC
	}
	return last
}

// agentsOf names the agent of a connection, or those that share it.
func agentsOf(one *api.Connection) string {
	switch {
	case !one.Shared:
		return one.Agent
	case len(one.Agents) == 0:
		return "(shared, no live token)"
	}
	return strings.Join(one.Agents, " ")
}

// cursors are those of the pages that were asked for.
type cursors map[string]bool

func (c cursors) next(cursor string) error {
	if c[cursor] {
		return errors.New("the server's pages do not come to an end")
	}
	c[cursor] = true
	return nil
}

// connectionID is the one argument of a command on one connection.
func connectionID(plain []string) (string, error) {
	if len(plain) != 1 {
		return "", cli.Wrong("want one CONNECTION_ID; athctl connections list shows them")
	}
	id, err := ath.ParseConnectionID(plain[0])
	if err != nil {
		return "", cli.Wrong("%q is not a connection's id; athctl connections list shows them", plain[0])
	}
	return id.String(), nil
}

func newShowConnection(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "show CONNECTION_ID",
		Short:   "show all that is known of a connection, but no token",
		Example: "  athctl connections show CONNECTION_ID -o json",
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
		var one api.Connection
		if err := server.ask(ctx, http.MethodGet, ath.AdminConnectionsPath+"/"+id, nil, &one); err != nil {
			return err
		}
		if *c.format == cli.JSON {
			return c.JSON(one)
		}
		return c.connectionDetails(&one)
	})
}

// userText is the id of a connection's user, if the operator is told it.
func userText(one *api.Connection, most int) string {
	if one.UserHidden {
		return "(hidden from this operator)"
	}
	return cli.Printable(one.User, most)
}

// connectionDetails shows one connection to people.
func (c *command) connectionDetails(one *api.Connection) error {
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	line := func(name, value string) { fmt.Fprintf(w, "%s:\t%s\n", name, dash(value)) }
	line("connection", cli.Printable(one.ID, 40))
	if one.Shared {
		line("shared by", cli.Printable(agentsOf(one), 8192))
	} else {
		line("agent id", cli.Printable(one.Agent, 2048))
	}
	line("user", userText(one, api.MaxUserBytes))
	line("provider", cli.Printable(one.Provider, 127))
	line("state", cli.Printable(one.State, 20))
	if one.LastError != "" {
		line("last error", cli.Printable(one.LastError, 500))
	}
	line("granted by the provider", cli.Scopes(cli.Printable(one.Provider, 127), one.Scopes))
	line("since", cli.Printable(one.Since, 30))
	line("last used", cli.Printable(one.LastUsed, 30))
	tokens := strconv.Itoa(one.Tokens)
	if one.Tokens > 0 {
		tokens += ", the last until " + cli.Printable(one.TokensUntil, 30)
	}
	line("ATH tokens", tokens)
	for _, r := range one.Renewals {
		line("renewal", fmt.Sprintf("%s until %s, unused until %s, last used %s", cli.Printable(r.Agent, 2048),
			cli.Printable(r.Until, 30), cli.Printable(r.IdleUntil, 30), cli.Printable(r.LastUsed, 30)))
	}
	expires := "not known"
	if one.Expires != "" {
		expires = cli.Printable(one.Expires, 30) + ended(one.Expires)
	}
	line("user's token expires", expires)
	refreshable := "no: "
	if one.Refreshable {
		refreshable = "yes: "
	}
	if one.RefreshExpires != "" {
		line("refresh token expires", cli.Printable(one.RefreshExpires, 30)+ended(one.RefreshExpires))
	}
	line("refreshable", refreshable+cli.Printable(one.Refresh, 500))
	line("its end does at the provider", cli.Printable(one.AtProvider, 500))
	return w.Flush()
}

func newEndConnection(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:   "end CONNECTION_ID",
		Short: "end what a user allowed an agent, at once",
		Long: `end deletes the user's tokens that athd keeps for this connection, and ends its
standing consents. The agent's tokens for it are refused from its next call on, on every
replica, and no renewal gives it another one: the user has to consent again. Ending it a
second time is no fault.`,
		Example: "  athctl connections end CONNECTION_ID",
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
		var reply api.ConnectionEndReply
		if err := server.ask(ctx, http.MethodPost, ath.AdminConnectionsPath+"/"+id+"/end", nil, &reply); err != nil {
			return err
		}
		if *c.format == cli.JSON {
			return c.JSON(reply)
		}
		if !reply.Ended {
			_, err = fmt.Fprintf(c.Stdout, "there is no connection %s: it has ended, or never was.\n", id)
			return err
		}
		_, err = fmt.Fprintf(c.Stdout, "ended %s: the agent's tokens for it are dead, and the user's are deleted.\n", id)
		if said := atProvider(reply.AtProvider); err == nil && said != "" {
			_, err = fmt.Fprintf(c.Stdout, "at the provider: %s.\n", said)
		}
		return err
	})
}

// atProvider says for people what becomes of a grant at the provider.
func atProvider(word string) string {
	switch word {
	case "":
		return ""
	case api.EndQueued:
		return "the grant is revoked there, too"
	case api.EndWaits:
		return "the grant is revoked there once the user's other connections with the same OAuth client have ended"
	case api.EndNever:
		return "the grant lives on there, as revocation: never wants it"
	case api.EndUnsupported:
		return "the grant lives on there: no revocation_endpoint is known"
	case api.EndUserUnknown:
		return "the grant lives on there: who the user is is not known, see athctl providers check"
	case api.EndUnreadable:
		return "the grant lives on there: the connection did not open, revoke it there"
	}
	return cli.Printable(word, 64)
}

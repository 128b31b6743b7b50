package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

const pageSize = "1000"

func newAgents(t cli.Terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "agents",
		Short:   "approve, deny, suspend and remove agents",
		GroupID: groupAgents,
		Long: `athctl agents: approve, deny, suspend and remove agents

Without --scope, approve and deny are about all that is under review. With
--host, suspend is about all agents of agents.example.com, or with
'*.example.com' of all hosts below that name, those to come as well.`,
		Example: `  athctl agents list --status pending
  athctl agents approve CLIENT_ID --expires 90d
  athctl agents suspend --host agents.example.com`,
	}
	c.AddCommand(newList(t), newShow(t), newApprove(t), newDeny(t), newSuspend(t), newResume(t), newHosts(t), newRemove(t))
	return c
}

// clientID is the one argument of a command on one agent.
func clientID(plain []string) (string, error) {
	if len(plain) != 1 {
		return "", cli.Wrong("want one CLIENT_ID; athctl agents list shows them")
	}
	id, err := ath.ParseClientID(plain[0])
	if err != nil {
		return "", cli.Wrong("%q is not a client_id; athctl agents list shows them", plain[0])
	}
	return id.String(), nil
}

func newList(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "list",
		Short:   "list agents",
		Example: "  athctl agents list --status pending",
	})
	var status string
	cli.Choice(c.Command, &status, "status", "only agents with it; pending is all that waits for you", "pending", "approved", "denied", "suspended")
	return c.runs(func(ctx context.Context, _ []string) error { return c.runList(ctx, status) })
}

func (c *command) runList(ctx context.Context, status string) error {
	server, err := c.connect()
	if err != nil {
		return err
	}
	all := api.AgentList{Agents: []api.Agent{}, Unreadable: []string{}}
	query := url.Values{"limit": {pageSize}}
	if status != "" {
		query.Set("status", status)
	}
	for seen := ""; ; {
		var page api.AgentList
		if err := server.ask(ctx, http.MethodGet, ath.AdminAgentsPath+"?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		all.Agents = append(all.Agents, page.Agents...)
		all.Unreadable = append(all.Unreadable, page.Unreadable...)
		if page.Next == "" {
			break
		}
		if page.Next <= seen {
			return errors.New("the server's pages do not come to an end")
		}
		seen = page.Next
		query.Set("cursor", page.Next)
	}
	for _, key := range all.Unreadable {
		fmt.Fprintf(c.Stderr, "athctl: warning: the record %s does not open: another keyset sealed it, or it was tampered with\n", cli.Printable(key, 80))
	}
	if *c.format == cli.JSON {
		return c.JSON(all)
	}
	return c.table(all.Agents, status)
}

func newShow(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "show CLIENT_ID",
		Short:   "show all that is known of an agent",
		Example: "  athctl agents show CLIENT_ID -o json",
	})
	return c.runs(func(ctx context.Context, plain []string) error { return c.do(ctx, plain, http.MethodGet, "", nil) })
}

func newSuspend(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:   "suspend CLIENT_ID | --host HOST",
		Short: "stop an agent, or all of a host, at once",
		Example: `  athctl agents suspend CLIENT_ID
  athctl agents suspend --host '*.example.com'`,
	})
	return c.ofOneOrHost("suspend")
}

func newResume(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:   "resume CLIENT_ID | --host HOST",
		Short: "let go on what was suspended",
		Example: `  athctl agents resume CLIENT_ID
  athctl agents resume --host agents.example.com`,
	})
	return c.ofOneOrHost("resume")
}

// ofOneOrHost runs a verb about one agent, or about all of a host.
func (c *command) ofOneOrHost(verb string) *cobra.Command {
	host := c.Flags().String("host", "", "not one agent but all of a `HOST`, such as agents.example.com, or *.example.com for all below that name, those to come as well")
	return c.runs(func(ctx context.Context, plain []string) error {
		switch {
		case *host != "" && len(plain) > 0:
			return cli.Wrong("want one CLIENT_ID or --host, not both")
		case *host != "":
			return c.ofHost(ctx, verb, *host)
		}
		return c.do(ctx, plain, http.MethodPost, "/"+verb, nil)
	})
}

// scopes is a flag that may be given several times: PROVIDER/SCOPE.
type scopes []api.RequestedProvider

func (s *scopes) String() string { return "" }

func (s *scopes) Type() string { return "scope" }

func (s *scopes) Set(text string) error {
	provider, scope, ok := strings.Cut(text, "/")
	if !ok || provider == "" || scope == "" {
		return errors.New("want PROVIDER/SCOPE, such as gallery/pictures:read")
	}
	for i := range *s {
		if (*s)[i].ID == provider {
			(*s)[i].Scopes = append((*s)[i].Scopes, scope)
			return nil
		}
	}
	*s = append(*s, api.RequestedProvider{ID: provider, Scopes: []string{scope}})
	return nil
}

func newApprove(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:   "approve CLIENT_ID",
		Short: "approve what an agent asked for, or some of it",
		Example: `  athctl agents approve CLIENT_ID --expires 90d
  athctl agents approve CLIENT_ID --scope github/repo --scope github/user`,
	})
	var named scopes
	c.Flags().Var(&named, "scope", "approve `PROVIDER/SCOPE`, not all that is under review; several times")
	expires := c.Flags().String("expires", "", "the `duration` for which the approval of the agent holds, such as 90d; without, as the policy says")
	return c.runs(func(ctx context.Context, plain []string) error {
		if *expires != "" {
			if _, err := ath.ParseDuration(*expires); err != nil {
				return cli.Wrong("--expires: %v", err)
			}
		}
		return c.do(ctx, plain, http.MethodPost, "/approve", api.ApproveRequest{Providers: named, Expires: *expires})
	})
}

func newDeny(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "deny CLIENT_ID",
		Short:   "deny what an agent asked for, or some of it",
		Example: "  athctl agents deny CLIENT_ID --scope github/repo --reason 'Reading is enough'",
	})
	var named scopes
	c.Flags().Var(&named, "scope", "deny `PROVIDER/SCOPE`, not all that is under review; several times")
	reason := c.Flags().String("reason", "", "what the agent hears as the `reason`")
	return c.runs(func(ctx context.Context, plain []string) error {
		return c.do(ctx, plain, http.MethodPost, "/deny", api.DenyRequest{Providers: named, Reason: *reason})
	})
}

// do asks for one agent, and shows it as it is then.
func (c *command) do(ctx context.Context, plain []string, method, verb string, body any) error {
	agent, err := clientID(plain)
	if err != nil {
		return err
	}
	server, err := c.connect()
	if err != nil {
		return err
	}
	var a api.Agent
	if err := server.ask(ctx, method, ath.AdminAgentsPath+"/"+agent+verb, body, &a); err != nil {
		return err
	}
	if *c.format == cli.JSON {
		return c.JSON(a)
	}
	return c.details(&a)
}

func newRemove(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "remove CLIENT_ID",
		Short:   "forget an agent, with its tokens and connections",
		Example: "  athctl agents remove CLIENT_ID",
	})
	return c.runs(c.runRemove)
}

func (c *command) runRemove(ctx context.Context, plain []string) error {
	agent, err := clientID(plain)
	if err != nil {
		return err
	}
	server, err := c.connect()
	if err != nil {
		return err
	}
	var reply struct {
		Removed bool `json:"removed"`
	}
	if err := server.ask(ctx, http.MethodDelete, ath.AdminAgentsPath+"/"+agent, nil, &reply); err != nil {
		return err
	}
	if !reply.Removed {
		return errors.New("the server does not say that it removed the agent")
	}
	if *c.format == cli.JSON {
		return c.JSON(reply)
	}
	_, err = fmt.Fprintf(c.Stdout, "removed %s with its tokens and connections.\n"+
		"It may register again, and is judged as if for the first time. To keep an agent out, suspend it.\n", agent)
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

const pageSize = "1000"

// An agentsCommand is one verb on agents.
type agentsCommand struct {
	*command
	wantsAgent bool
	agent      string // CLIENT_ID, where one is wanted
}

func runAgents(ctx context.Context, args []string, t cli.Terminal) error {
	verbs := map[string]func(context.Context, []string, *agentsCommand) error{
		"list": runList, "show": runShow, "approve": runApprove, "deny": runDeny,
		"suspend": runPlain("suspend"), "resume": runPlain("resume"), "remove": runRemove, "hosts": runHosts,
	}
	if len(args) == 0 {
		fmt.Fprint(t.Stderr, usage)
		return cli.ErrUsage
	}
	if args[0] == "-h" || args[0] == "-help" || args[0] == "--help" {
		fmt.Fprint(t.Stdout, usage)
		return nil
	}
	verb, known := verbs[args[0]]
	if !known {
		fmt.Fprintf(t.Stderr, "athctl agents: no such command: %q\n\n%s", args[0], usage)
		return cli.ErrUsage
	}
	return verb(ctx, args[1:], &agentsCommand{command: newCommand("agents "+args[0], t), wantsAgent: args[0] != "list"})
}

// dial parses the arguments, with CLIENT_ID among them where one is wanted,
// and returns a client for the server that they name.
func (c *agentsCommand) dial(args []string) (*adminClient, error) {
	plain, err := c.ParseArgs(args)
	switch {
	case err != nil:
		return nil, err
	case !c.wantsAgent && len(plain) > 0:
		return nil, c.Wrong("unexpected argument %q", plain[0])
	case c.wantsAgent && len(plain) != 1:
		return nil, c.Wrong("want one CLIENT_ID; athctl agents list shows them")
	}
	if c.wantsAgent {
		id, err := ath.ParseClientID(plain[0])
		if err != nil {
			return nil, c.Wrong("%q is not a client_id; athctl agents list shows them", plain[0])
		}
		c.agent = id.String()
	}
	return c.connect()
}

func runList(ctx context.Context, args []string, c *agentsCommand) error {
	status := c.String("status", "", "only agents that are `pending`, approved, denied or suspended; pending is all that waits for you")
	server, err := c.dial(args)
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"", "pending", "approved", "denied", "suspended"}, *status) {
		return c.Wrong("-status wants pending, approved, denied or suspended")
	}
	all := api.AgentList{Agents: []api.Agent{}, Unreadable: []string{}}
	query := url.Values{"limit": {pageSize}}
	if *status != "" {
		query.Set("status", *status)
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
	if *c.Format == "json" {
		return c.JSON(all)
	}
	return c.table(all.Agents, *status)
}

func runShow(ctx context.Context, args []string, c *agentsCommand) error {
	return c.do(ctx, args, http.MethodGet, "", nil)
}

func runPlain(verb string) func(context.Context, []string, *agentsCommand) error {
	return func(ctx context.Context, args []string, c *agentsCommand) error {
		host := c.String("host", "", "not one agent but all of a `HOST`, such as agents.example.com, or *.example.com for all below that name, those to come as well")
		plain, err := c.ParseArgs(args)
		switch {
		case err != nil:
			return err
		case *host != "" && len(plain) > 0:
			return c.Wrong("want one CLIENT_ID or -host, not both")
		case *host != "":
			return c.ofHost(ctx, verb, *host)
		}
		return c.do(ctx, args, http.MethodPost, "/"+verb, nil)
	}
}

// scopes is a flag that may be given several times: PROVIDER/SCOPE.
type scopes []api.RequestedProvider

func (s *scopes) String() string { return "" }

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

func runApprove(ctx context.Context, args []string, c *agentsCommand) error {
	var named scopes
	c.Var(&named, "scope", "approve `PROVIDER/SCOPE`, not all that is under review; several times")
	expires := c.String("expires", "", "how `long` the approval of the agent holds, such as 90d; without, as the policy says")
	return c.do(ctx, args, http.MethodPost, "/approve", func() (any, error) {
		if *expires != "" {
			if _, err := ath.ParseDuration(*expires); err != nil {
				return nil, c.Wrong("-expires: %v", err)
			}
		}
		return api.ApproveRequest{Providers: named, Expires: *expires}, nil
	})
}

func runDeny(ctx context.Context, args []string, c *agentsCommand) error {
	var named scopes
	c.Var(&named, "scope", "deny `PROVIDER/SCOPE`, not all that is under review; several times")
	reason := c.String("reason", "", "what the agent hears as the `reason`")
	return c.do(ctx, args, http.MethodPost, "/deny", func() (any, error) {
		return api.DenyRequest{Providers: named, Reason: *reason}, nil
	})
}

// do asks for one agent, and shows it as it is then.
func (c *agentsCommand) do(ctx context.Context, args []string, method, verb string, body func() (any, error)) error {
	server, err := c.dial(args)
	if err != nil {
		return err
	}
	var given any
	if body != nil {
		if given, err = body(); err != nil {
			return err
		}
	}
	var a api.Agent
	if err := server.ask(ctx, method, ath.AdminAgentsPath+"/"+c.agent+verb, given, &a); err != nil {
		return err
	}
	if *c.Format == "json" {
		return c.JSON(a)
	}
	return c.details(&a)
}

func runRemove(ctx context.Context, args []string, c *agentsCommand) error {
	server, err := c.dial(args)
	if err != nil {
		return err
	}
	var reply struct {
		Removed bool `json:"removed"`
	}
	if err := server.ask(ctx, http.MethodDelete, ath.AdminAgentsPath+"/"+c.agent, nil, &reply); err != nil {
		return err
	}
	if !reply.Removed {
		return errors.New("the server does not say that it removed the agent")
	}
	if *c.Format == "json" {
		return c.JSON(reply)
	}
	_, err = fmt.Fprintf(c.Stdout, "removed %s with its tokens and connections.\n"+
		"It may register again, and is judged as if for the first time. To keep an agent out, suspend it.\n", c.agent)
	return err
}

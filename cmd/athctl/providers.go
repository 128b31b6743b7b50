package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

func newProviders(t cli.Terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "providers",
		Short:   "list, add, change, remove and check providers",
		GroupID: groupChecks,
		Example: "  athctl providers list\n  athctl providers add github --from github.json --secret-file github.secret\n  athctl providers check --config athd.yaml",
	}
	c.AddCommand(newProvidersList(t), newProvidersShow(t), newProvidersAdd(t), newProvidersSet(t), newProvidersRemove(t), newProvidersCheck(t), newProvidersAccept(t))
	return c
}

func newProvidersList(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{Use: "list", Short: "list providers and apps", Example: "  athctl providers list", Args: cobra.NoArgs})
	return c.runs(func(ctx context.Context, _ []string) error {
		server, err := c.connect()
		if err != nil {
			return err
		}
		all, err := server.providers(ctx)
		if err != nil {
			return err
		}
		if *c.format == cli.JSON {
			return c.JSON(all)
		}
		w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "PROVIDER\tCLIENT\tOAUTH SERVER\tSTATE")
		for _, p := range all.Providers {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", cli.Printable(p.ID, 130), cli.Printable(p.ClientID, 100),
				cli.Printable(orElse(p.Issuer, p.TokenEndpoint), 200), stateOf(p))
		}
		return w.Flush()
	})
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func generationText(p api.Provider) string {
	if p.Generation == 0 {
		return ""
	}
	return strconv.FormatUint(p.Generation, 10)
}

// trueText is "" for false, which is not shown.
func trueText(b bool) string {
	if b {
		return "true"
	}
	return ""
}

func whenBy(when, by string) string {
	if when == "" {
		return ""
	}
	return when + " by " + by
}

// stateOf says in a word how a provider does.
func stateOf(p api.Provider) string {
	if p.Origin == api.ProviderOfRuntime {
		return "added at run time, " + runtimeState(p)
	}
	return configuredState(p)
}

func runtimeState(p api.Provider) string {
	switch {
	case p.State == api.ProviderDraining && p.Left != nil:
		return fmt.Sprintf("draining: %d connections left", *p.Left)
	case p.State == api.ProviderShadowed:
		return "shadowed: a file has the id"
	case p.State == api.ProviderFaulty:
		return "faulty: " + p.Problem
	case p.State != api.ProviderActive:
		return p.State
	}
	return configuredState(p)
}

func configuredState(p api.Provider) string {
	switch m := p.Metadata; {
	case m == nil:
		return "configured"
	case !m.Known:
		return "waits for its issuer"
	case len(m.Moves) > 0:
		return "endpoints moved, not followed"
	case m.Error != "":
		return "known, issuer away"
	}
	return "known"
}

func newProvidersShow(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{Use: "show PROVIDER", Short: "show where a provider's tokens come from, and what its issuer says", Example: "  athctl providers show shop"})
	return c.runs(func(ctx context.Context, plain []string) error {
		_, p, err := c.oneProvider(ctx, plain)
		if err != nil {
			return err
		}
		if *c.format == cli.JSON {
			return c.JSON(p)
		}
		return c.tellProvider(p)
	})
}

// oneProvider asks for the one that the command line names.
func (c *command) oneProvider(ctx context.Context, plain []string) (*adminClient, api.Provider, error) {
	if len(plain) != 1 {
		return nil, api.Provider{}, cli.Wrong("want one provider")
	}
	server, err := c.connect()
	if err != nil {
		return nil, api.Provider{}, err
	}
	all, err := server.providers(ctx)
	if err != nil {
		return nil, api.Provider{}, err
	}
	for _, p := range all.Providers {
		if p.ID == plain[0] {
			return server, p, nil
		}
	}
	return nil, api.Provider{}, fmt.Errorf("there is no provider %s\nnext: athctl providers list", cli.Printable(plain[0], 130))
}

func (c *command) tellProvider(p api.Provider) error {
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"provider", p.ID}, {"state", stateOf(p)}, {"generation", generationText(p)}, {"added", whenBy(p.Created, p.CreatedBy)}, {"changed", whenBy(p.Changed, p.ChangedBy)}, {"issuer", p.Issuer}, {"authorize_endpoint", p.AuthorizeEndpoint}, {"token_endpoint", p.TokenEndpoint},
		{"userinfo_endpoint", p.UserinfoEndpoint}, {"revocation_endpoint", p.RevocationURL}, {"client_id", p.ClientID}, {"token_auth_method", p.AuthMethod},
		{"available_scopes", strings.Join(p.Scopes, " ")}, {"extra_scopes", strings.Join(p.ExtraScopes, " ")}, {"resource", p.Resource}, {"api_base_url", p.APIBase},
		{"retry_on_401", trueText(p.RetryOn401)}, {"rewrite_links", trueText(p.RewriteLinks)},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], cli.Printable(row[1], 2000))
		}
	}
	if m := p.Metadata; m != nil {
		if m.Asked != "" {
			fmt.Fprintf(w, "issuer answered\t%s\n", cli.Printable(m.Asked, 40))
		}
		if m.Error != "" {
			fmt.Fprintf(w, "could not be asked\t%s\n", cli.Printable(m.Error, 1000))
		}
		for _, move := range m.Moves {
			fmt.Fprintf(w, "moved, not followed\t%s: from %s to %s, since %s\n", cli.Printable(move.Endpoint, 60), cli.Printable(orElse(move.From, "nowhere"), 300), cli.Printable(move.To, 300), cli.Printable(m.MovedSince, 40))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if p.Metadata != nil && len(p.Metadata.Moves) > 0 {
		_, err := fmt.Fprintf(c.Stdout, "next: ask the server's operator whether that is meant; if so: athctl providers accept %s\n", p.ID)
		return err
	}
	return nil
}

func newProvidersAccept(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:   "accept PROVIDER",
		Short: "follow the issuer's endpoints to another host",
		Long: `accept lets athd follow metadata that moves endpoints of a provider's issuer to
another host, where users, codes and athd's client secret are sent from then on.
It shows the moves, and accepts exactly those. It is for all providers of that
issuer, on every athd.`,
		Example: "  athctl providers accept shop",
	})
	return c.runs(func(ctx context.Context, plain []string) error {
		server, p, err := c.oneProvider(ctx, plain)
		if err != nil {
			return err
		}
		if p.Metadata == nil || len(p.Metadata.Moves) == 0 {
			return fmt.Errorf("there is nothing to accept: no endpoint of %s is moved to another host", cli.Printable(p.ID, 130))
		}
		var reply api.AcceptReply
		request := api.AcceptRequest{ProviderID: p.ID, Digest: p.Metadata.Digest}
		if err := server.ask(ctx, http.MethodPost, ath.AdminProvidersPath+"/accept", request, &reply); err != nil {
			return err
		}
		if *c.format == cli.JSON {
			return c.JSON(reply)
		}
		for _, m := range reply.Moves {
			fmt.Fprintf(c.Stdout, "%s: from %s to %s\n", cli.Printable(m.Endpoint, 60), cli.Printable(orElse(m.From, "nowhere"), 300), cli.Printable(m.To, 300))
		}
		_, err = fmt.Fprintf(c.Stdout, "followed from now on, for %s.\n", cli.Printable(strings.Join(reply.Providers, ", "), 1000))
		return err
	})
}

func (c *adminClient) providers(ctx context.Context) (api.ProviderList, error) {
	var all api.ProviderList
	err := c.ask(ctx, http.MethodGet, ath.AdminProvidersPath, nil, &all)
	return all, err
}

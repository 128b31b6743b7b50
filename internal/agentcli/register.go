package agentcli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/strict"
)

// loopbackRedirect is what is registered for authorize's listener: on a
// loopback IP the port may differ (Z-1).
const loopbackRedirect = "http://127.0.0.1/callback"

func newRegister(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "register",
		Short:   "register the agent for scopes of a provider",
		GroupID: groupHandshake,
		Example: `  athctl try register --provider shop --scope products:read
  athctl try register --provider shop --scope products:read,cart:write --replace`,
	})
	var scopes scopeList
	var redirects uriList
	provider := c.Flags().String("provider", "", "the `ID` of what the agent wants to use")
	c.Flags().Var(&scopes, "scope", "ask for `SCOPE`; several times, or with commas")
	c.Flags().Var(&redirects, "redirect-uri", "register `URI` beside the server's own callback and "+loopbackRedirect+"; several times")
	replace := c.Flags().Bool("replace", false, "where the agent is registered already, end that registration first: its tokens end too")
	return c.runs(func(ctx context.Context, _ []string) error {
		if *provider == "" || len(scopes) == 0 {
			return cli.Wrong("want --provider ID and --scope SCOPE; athctl try discover shows them")
		}
		return c.runRegister(ctx, *provider, scopes, redirects, *replace)
	})
}

func (c *command) runRegister(ctx context.Context, provider string, scopes, redirects []string, replace bool) error {
	if _, err := c.open(); err != nil {
		return err
	}
	reply, err := c.register(ctx, provider, scopes, redirects, replace)
	if err != nil {
		return err
	}
	slips, err := c.slips(ctx, provider, scopes, reply.Providers)
	if err != nil {
		return err
	}
	if *c.format == cli.JSON {
		shown := shownRegistration(reply)
		if len(slips) > 0 {
			shown["unknown_scopes"] = slips
		}
		err = c.JSON(shown)
	} else {
		err = c.showRegistration(reply)
	}
	for _, s := range slips {
		fmt.Fprintf(c.Stderr, "athctl: %s offers no scope %s", cli.Printable(provider, 64), cli.Printable(s.Scope, 128))
		if s.Meant != "" {
			fmt.Fprintf(c.Stderr, ", did you mean %s?", cli.Printable(s.Meant, 128))
		}
		fmt.Fprintln(c.Stderr)
	}
	if err == nil && len(slips) > 0 {
		fmt.Fprintln(c.Stderr, "next: register again with the right scope, which adds it; athctl try discover shows what there is")
		err = cli.ErrFound
	}
	return err
}

// A slip is a scope that was asked for and that nobody offers.
type slip struct {
	Scope string `json:"scope"`
	Meant string `json:"did_you_mean,omitempty"`
}

// slips finds the scopes that were asked for and denied, since the provider
// does not offer them: not by anybody's decision, but by how they are written.
func (c *command) slips(ctx context.Context, provider string, asked []string, providers []api.ApprovedProvider) ([]slip, error) {
	denied := map[string]bool{}
	for _, p := range providers {
		for _, s := range p.Denied {
			denied[s] = true
		}
	}
	if !slices.ContainsFunc(asked, func(s string) bool { return denied[s] }) {
		return nil, nil
	}
	found, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	offered := found.Scopes(provider)
	var out []slip
	for _, s := range asked {
		if denied[s] && !slices.Contains(offered, s) {
			out = append(out, slip{s, strict.Nearest(s, offered)})
		}
	}
	return out, nil
}

// register registers and keeps what comes back.
func (c *command) register(ctx context.Context, provider string, scopes, redirects []string, replace bool) (*api.Registration, error) {
	// The secret is shown once: first make sure that it can be kept.
	if err := c.file.update(func(*savedState) error { return nil }); err != nil {
		return nil, err
	}
	wanted := client.Registration{
		Provider: provider, Scopes: scopes, Purpose: "Trying it out, with athctl",
		RedirectURIs: append([]string{c.client.Callback(), loopbackRedirect}, redirects...),
	}
	reply, err := c.client.Register(ctx, wanted)
	if refusal, ok := errors.AsType[*client.Error](err); ok && replace && refusal.Code == ath.Conflict {
		held, _ := refusal.Details["client_id"].(string)
		if _, err := ath.ParseClientID(held); err != nil {
			return nil, fmt.Errorf("the server does not say which registration there is: %w", refusal)
		}
		if err := c.client.Remove(ctx, held); err != nil {
			return nil, fmt.Errorf("the old registration: %w", err)
		}
		if err := c.update(func(s *serverState) { *s = serverState{} }); err != nil {
			return nil, err
		}
		reply, err = c.client.Register(ctx, wanted)
	}
	if err != nil {
		return nil, err
	}
	own := &api.Registration{ClientID: reply.ClientID, Status: reply.Status, Providers: reply.Providers, ApprovalExpires: reply.ApprovalExpires}
	return own, c.update(func(s *serverState) {
		if s.ClientID != reply.ClientID { // what hung on the old one ended with it
			*s = serverState{}
		}
		s.ClientID, s.ClientSecret = reply.ClientID, reply.ClientSecret
	})
}

// shownRegistration is a registration without its secret.
func shownRegistration(r *api.Registration) map[string]any {
	providers := []map[string]any{}
	for _, p := range r.Providers {
		providers = append(providers, map[string]any{
			"provider_id": p.ID, "approved_scopes": p.Approved, "denied_scopes": p.Denied, "denial_reason": p.DenialReason,
		})
	}
	return map[string]any{
		"client_id": r.ClientID, "agent_status": r.Status, "approved_providers": providers, "approval_expires": r.ApprovalExpires,
	}
}

func (c *command) showRegistration(r *api.Registration) error {
	fmt.Fprintf(c.Stdout, "client id:       %s\nstatus:          %s\n", cli.Printable(r.ClientID, 60), cli.Printable(r.Status, 20))
	if r.Status == api.StatusApproved {
		fmt.Fprintf(c.Stdout, "approved until:  %s\n", cli.Printable(r.ApprovalExpires, 40))
	}
	for _, p := range r.Providers {
		id := cli.Printable(p.ID, 64)
		if len(p.Approved) > 0 {
			fmt.Fprintf(c.Stdout, "approved:        %s\n", cli.Scopes(id, p.Approved))
		}
		if len(p.Denied) > 0 {
			fmt.Fprintf(c.Stdout, "denied:          %s", cli.Scopes(id, p.Denied))
			if p.DenialReason != "" {
				fmt.Fprintf(c.Stdout, " (%s)", cli.Printable(p.DenialReason, 512))
			}
			fmt.Fprintln(c.Stdout)
		}
	}
	if r.Status == api.StatusPending {
		fmt.Fprintln(c.Stderr, "next: an operator decides, with athctl agents approve; athctl try status shows when")
	}
	return nil
}

// approvedFor are the scopes that a registration has for a provider.
func approvedFor(r *api.Registration, provider string) []string {
	for _, p := range r.Providers {
		if p.ID == provider {
			return p.Approved
		}
	}
	return nil
}

// uriList is a flag for redirect URIs, which may be given several times.
type uriList []string

func (l *uriList) String() string { return strings.Join(*l, " ") }

func (l *uriList) Type() string { return "URI" }

func (l *uriList) Set(text string) error {
	u, err := url.Parse(text)
	if err != nil || !u.IsAbs() || strings.Contains(text, "#") {
		return errors.New("want an absolute URI without a fragment")
	}
	if !slices.Contains(*l, text) {
		*l = append(*l, text)
	}
	return nil
}

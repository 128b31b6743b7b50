package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	identity "github.com/athd/athd/cmd/athdemo/agent"
	"github.com/athd/athd/strict"
)

// loopbackRedirect is what is registered for authorize's listener: on a
// loopback IP the port may differ (Z-1).
const loopbackRedirect = "http://127.0.0.1/callback"

func runRegister(ctx context.Context, args []string, c *agentCommand) error {
	var scopes scopeList
	var redirects uriList
	provider := c.String("provider", "", "the `ID` of what the agent wants to use")
	c.Var(&scopes, "scope", "ask for `SCOPE`; several times, or with commas")
	c.Var(&redirects, "redirect-uri", "register `URI` beside the server's own callback and "+loopbackRedirect+"; several times")
	replace := c.Bool("replace", false, "where the agent is registered already, end that registration first: its tokens end too")
	if err := c.none(args); err != nil {
		return err
	}
	if *provider == "" || len(scopes) == 0 {
		return c.wrong("want -provider ID and -scope SCOPE; athctl agent discover shows them")
	}
	if _, err := c.open(); err != nil {
		return err
	}
	reply, err := c.register(ctx, *provider, scopes, redirects, *replace)
	if err != nil {
		return err
	}
	slips, err := c.slips(ctx, *provider, scopes, reply)
	if err != nil {
		return err
	}
	if *c.output == "json" {
		shown := shownRegistration(reply)
		if len(slips) > 0 {
			shown["unknown_scopes"] = slips
		}
		err = c.json(shown)
	} else {
		err = c.showRegistration(reply)
	}
	for _, s := range slips {
		fmt.Fprintf(c.stderr, "athctl: %s offers no scope %s", printable(*provider, 64), printable(s.Scope, 128))
		if s.Meant != "" {
			fmt.Fprintf(c.stderr, ", did you mean %s?", printable(s.Meant, 128))
		}
		fmt.Fprintln(c.stderr)
	}
	if err == nil && len(slips) > 0 {
		fmt.Fprintln(c.stderr, "next: register again with the right scope, which adds it; athctl agent discover shows what there is")
		err = errFound
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
func (c *agentCommand) slips(ctx context.Context, provider string, asked []string, r identity.Registration) ([]slip, error) {
	denied := map[string]bool{}
	for _, p := range r.Providers {
		for _, s := range p.Denied {
			denied[s] = true
		}
	}
	if !slices.ContainsFunc(asked, func(s string) bool { return denied[s] }) {
		return nil, nil
	}
	found, err := discover(ctx, c.client)
	if err != nil {
		return nil, err
	}
	offered := found.scopesOf(provider)
	var out []slip
	for _, s := range asked {
		if denied[s] && !slices.Contains(offered, s) {
			out = append(out, slip{s, strict.Nearest(s, offered)})
		}
	}
	return out, nil
}

// register registers and keeps what comes back.
func (c *agentCommand) register(ctx context.Context, provider string, scopes, redirects []string, replace bool) (identity.Registration, error) {
	// The secret is shown once: first make sure that it can be kept.
	if err := c.file.update(func(*agentState) error { return nil }); err != nil {
		return identity.Registration{}, err
	}
	c.client.Redirects = append([]string{loopbackRedirect}, redirects...)
	reply, err := c.client.Register(ctx, provider, scopes)
	if refusal, ok := errors.AsType[*identity.Refusal](err); ok && replace && refusal.Code == string(ath.Conflict) {
		held, _ := refusal.Details["client_id"].(string)
		if _, err := ath.ParseClientID(held); err != nil {
			return reply, fmt.Errorf("the server does not say which registration there is: %w", refusal)
		}
		if err := c.client.Remove(ctx, held); err != nil {
			return reply, fmt.Errorf("the old registration: %w", err)
		}
		if err := c.update(func(s *agentServer) { *s = agentServer{} }); err != nil {
			return reply, err
		}
		reply, err = c.client.Register(ctx, provider, scopes)
	}
	if err != nil {
		return reply, err
	}
	if reply.ClientID == "" || reply.Secret == "" {
		return reply, errors.New("the server answered without client_id and client_secret")
	}
	return reply, c.update(func(s *agentServer) {
		if s.ClientID != reply.ClientID { // what hung on the old one ended with it
			*s = agentServer{}
		}
		s.ClientID, s.ClientSecret = reply.ClientID, keep(reply.Secret)
	})
}

// shownRegistration is a registration without its secret.
func shownRegistration(r identity.Registration) map[string]any {
	providers := []map[string]any{}
	for _, p := range r.Providers {
		providers = append(providers, map[string]any{
			"provider_id": p.ID, "approved_scopes": p.Approved, "denied_scopes": p.Denied, "denial_reason": p.Reason,
		})
	}
	return map[string]any{
		"client_id": r.ClientID, "agent_status": r.Status, "approved_providers": providers, "approval_expires": r.Expires,
	}
}

func (c *agentCommand) showRegistration(r identity.Registration) error {
	fmt.Fprintf(c.stdout, "client id:       %s\nstatus:          %s\n", printable(r.ClientID, 60), printable(r.Status, 20))
	if r.Status == "approved" {
		fmt.Fprintf(c.stdout, "approved until:  %s\n", printable(r.Expires, 40))
	}
	for _, p := range r.Providers {
		id := printable(p.ID, 64)
		if len(p.Approved) > 0 {
			fmt.Fprintf(c.stdout, "approved:        %s\n", list(id, p.Approved))
		}
		if len(p.Denied) > 0 {
			fmt.Fprintf(c.stdout, "denied:          %s", list(id, p.Denied))
			if p.Reason != "" {
				fmt.Fprintf(c.stdout, " (%s)", printable(p.Reason, 512))
			}
			fmt.Fprintln(c.stdout)
		}
	}
	if r.Status == "pending" {
		fmt.Fprintln(c.stderr, "next: an operator decides, with athctl agents approve; athctl agent status shows when")
	}
	return nil
}

// approvedFor are the scopes that a registration has for a provider.
func approvedFor(r *identity.Registration, provider string) []string {
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

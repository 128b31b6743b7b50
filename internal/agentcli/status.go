package agentcli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/cli"
)

// A heldStatus is a token, or an authorization in flight, as it may be shown.
type heldStatus struct {
	Provider string   `json:"provider_id"`
	Token    string   `json:"access_token,omitempty"` // shortened
	Scopes   []string `json:"scopes"`
	API      string   `json:"api"`
	Expires  string   `json:"expires"`
	State    string   `json:"state"` // good, over, revoked; or waiting, code received
	// Until when a call renews the token, without the user.
	Renewable   bool   `json:"renewable,omitempty"`
	RenewsUntil string `json:"renews_until,omitempty"`
}

func newStatus(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "status",
		Short:   "show what the agent has: registration, tokens, what is in flight",
		GroupID: groupIdentity,
		Example: "  athctl try status",
	})
	return c.runs(func(ctx context.Context, _ []string) error { return c.runStatus(ctx) })
}

func (c *command) runStatus(ctx context.Context) error {
	state, known, err := c.registered()
	if err != nil {
		return err
	}
	own, err := c.client.Status(ctx)
	if err != nil {
		return err
	}
	tokens, sessions := statusOf(known, time.Now())
	if *c.format == cli.JSON {
		shown := shownRegistration(own)
		shown["redirect_uris"] = own.RedirectURIs
		return c.JSON(map[string]any{"agent_id": state.Agent.ID, "server": c.base, "registration": shown, "tokens": tokens, "sessions": sessions})
	}
	fmt.Fprintf(c.Stdout, "agent id:        %s\nserver:          %s\n", state.Agent.ID, c.base)
	if err := c.showRegistration(own); err != nil {
		return err
	}
	for _, u := range own.RedirectURIs {
		fmt.Fprintf(c.Stdout, "redirects to:    %s\n", cli.Printable(u, 2048))
	}
	for _, t := range tokens {
		fmt.Fprintf(c.Stdout, "token:           %s for %s (%s), %s, until %s\n", t.Token, cli.Printable(t.Provider, 64), cli.Printable(strings.Join(t.Scopes, " "), 500), t.State, t.Expires)
		if t.Renewable {
			fmt.Fprintf(c.Stdout, "renews until:    %s, by itself\n", cmp.Or(t.RenewsUntil, "the server does not say"))
		}
	}
	for _, s := range sessions {
		fmt.Fprintf(c.Stdout, "in flight:       for %s (%s), %s, until %s\n", cli.Printable(s.Provider, 64), cli.Printable(strings.Join(s.Scopes, " "), 500), s.State, s.Expires)
	}
	return nil
}

// statusOf is what an agent has at a server, without its secrets.
func statusOf(known *serverState, now time.Time) (tokens, sessions []heldStatus) {
	tokens, sessions = []heldStatus{}, []heldStatus{}
	for _, name := range slices.Sorted(maps.Keys(known.Tokens)) {
		t := known.Tokens[name]
		status := "good"
		if t.Revoked {
			status = "revoked"
		} else if !now.Before(t.Expires) {
			status = "over"
		}
		held := heldStatus{
			Provider: name, Token: shortToken(t.Access.Reveal()), Scopes: t.Scopes, API: t.API,
			Expires: t.Expires.Format(time.RFC3339), State: status, Renewable: !t.Renewal.IsZero(),
		}
		if !t.RenewalExpires.IsZero() {
			held.RenewsUntil = t.RenewalExpires.Format(time.RFC3339)
		}
		tokens = append(tokens, held)
	}
	for _, s := range known.Sessions {
		if !now.Before(s.Expires) {
			continue
		}
		status := "waiting for the user"
		if !s.Code.IsZero() {
			status = "code received"
		}
		sessions = append(sessions, heldStatus{Provider: s.Provider, Scopes: s.Scopes, API: s.API, Expires: s.Expires.Format(time.RFC3339), State: status})
	}
	return tokens, sessions
}

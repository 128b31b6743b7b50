package agentcli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/transcript"
)

func newToken(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "token",
		Short:   "exchange the user's code for a token",
		GroupID: groupHandshake,
		Example: `  athctl try token
  athctl try token --code -`,
	})
	code := c.Flags().String("code", "", "the `CODE` that the user brought back, or the whole URL; without, what authorize received; - reads it from standard input")
	provider := c.Flags().String("provider", "", "the `ID` of the provider, where several authorizations are in flight; without, the latest")
	return c.runs(func(ctx context.Context, _ []string) error { return c.runToken(ctx, *code, *provider) })
}

func (c *command) runToken(ctx context.Context, code, provider string) error {
	_, known, err := c.registered()
	if err != nil {
		return err
	}
	session, err := c.inFlight(known, provider)
	if err != nil {
		return err
	}
	expected := c.pending(session)
	brought := session.Code.Secret
	switch code {
	case "":
	case "-":
		brought, err = expected.readPasted(ctx, c.Stdin)
	default:
		brought, err = expected.pasted(code)
	}
	if err != nil {
		return err
	}
	if brought.IsZero() {
		return cli.Wrong("which code? Use --code CODE: it is on the last page that the user saw")
	}
	token, reply, err := c.exchange(ctx, session, brought)
	if err != nil {
		return err
	}
	return c.showToken(reply, token)
}

// showToken prints a token that the state now has.
func (c *command) showToken(reply *client.Token, token heldToken) error {
	if *c.format == cli.JSON {
		return c.JSON(shownToken(reply, token))
	}
	fmt.Fprintf(c.Stdout, "token:      %s, kept in %s\nprovider:   %s\nscopes:     %s\ngood until: %s\n",
		shortToken(reply.Access.Reveal()), c.file.path, cli.Printable(reply.Provider, 64),
		cli.Printable(strings.Join(reply.Scopes, " "), 1000), until(token.Expires))
	if !token.Renewal.IsZero() {
		fmt.Fprintf(c.Stdout, "renews until: %s\n", renewsUntil(token.RenewalExpires))
	}
	_, err := fmt.Fprintf(c.Stdout, "calls go to %s\n", token.API)
	return err
}

// renewsUntil shows to people until when a token renews.
func renewsUntil(t time.Time) string {
	if t.IsZero() {
		return "the server does not say"
	}
	return until(t)
}

// inFlight finds the latest session, of a provider if one is named.
func (c *command) inFlight(known *serverState, provider string) (*openSession, error) {
	known.prune(time.Now())
	for _, s := range slices.Backward(known.Sessions) {
		if provider == "" || s.Provider == provider {
			return &s, nil
		}
	}
	return nil, errors.New("no authorization is in flight\nnext: athctl try authorize --provider ID --scope SCOPE; one ends after ten minutes")
}

// exchange exchanges a code and keeps the token. A session that can come to
// nothing any more is dropped.
func (c *command) exchange(ctx context.Context, s *openSession, code ath.Secret) (heldToken, *client.Token, error) {
	pending := c.pending(s)
	reply, err := c.client.Exchange(ctx, &pending.Authorization, code)
	if err != nil {
		if isLast(client.CodeOf(err)) {
			err = errors.Join(err, c.update(func(known *serverState) { known.drop(s.ID) }))
		}
		return heldToken{}, nil, err
	}
	token := heldOf(reply, s.API)
	return token, reply, c.update(func(known *serverState) {
		known.drop(s.ID)
		known.hold(s.Provider, token)
	})
}

// isLast reports whether a refusal says that the session is over.
func isLast(code ath.Code) bool {
	return slices.Contains([]ath.Code{ath.SessionExpired, ath.UserDenied, ath.OAuthError, ath.ScopeNotApproved}, code)
}

// shortToken leaves so much of a token that one knows it again. One that does
// not look like athd's is shortened too.
func shortToken(token string) string {
	if short := transcript.Shorten(token); short != token {
		return short
	}
	return cli.Printable(token[:min(4, len(token))], 4) + "…"
}

// shownToken is a reply of the token endpoint with the token shortened.
func shownToken(r *client.Token, t heldToken) map[string]any {
	shown := map[string]any{
		"access_token": shortToken(r.Access.Reveal()), "provider_id": r.Provider, "effective_scopes": r.Scopes,
		"scope_intersection": r.Intersection,
		"expires":            t.Expires.Format(time.RFC3339), "api": t.API, "renewable": !t.Renewal.IsZero(),
	}
	if !t.RenewalExpires.IsZero() {
		shown["renews_until"] = t.RenewalExpires.Format(time.RFC3339)
	}
	return shown
}

func newRevoke(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "revoke",
		Short:   "give the token back",
		GroupID: groupHandshake,
		Example: "  athctl try revoke --provider shop",
	})
	provider := c.Flags().String("provider", "", "the `ID` of the token's provider, where there are several")
	return c.runs(func(ctx context.Context, _ []string) error { return c.runRevoke(ctx, *provider) })
}

func (c *command) runRevoke(ctx context.Context, provider string) error {
	_, known, err := c.registered()
	if err != nil {
		return err
	}
	name, token, err := c.held(known, provider)
	if err != nil {
		return err
	}
	if err := c.revoke(ctx, name, token); err != nil {
		return err
	}
	if *c.format == cli.JSON {
		return c.JSON(map[string]any{"provider_id": name, "revoked": true})
	}
	what := "the token for " + name
	if !token.Renewal.IsZero() {
		what += ", and its renewal"
	}
	_, err = fmt.Fprintf(c.Stdout, "revoked %s. A call with it is refused from now on.\n", what)
	return err
}

// revoke gives a token back. The state keeps it, marked: who tries athd out
// wants to see that it is dead.
func (c *command) revoke(ctx context.Context, name string, token heldToken) error {
	if !token.Renewal.IsZero() { // which may have given tokens to others, too
		if err := c.client.Revoke(ctx, token.Renewal.Secret); err != nil {
			return err
		}
	}
	if err := c.client.Revoke(ctx, token.Access.Secret); err != nil {
		return err
	}
	return c.update(func(known *serverState) {
		if t, is := known.Tokens[name]; is && t.Access.Equal(token.Access.Reveal()) {
			t.Revoked, t.Renewal, t.RenewalExpires = true, api.Secret{}, time.Time{}
			known.Tokens[name] = t
		}
	})
}

// held finds a token.
func (c *command) held(known *serverState, provider string) (string, heldToken, error) {
	names := slices.Sorted(maps.Keys(known.Tokens))
	switch {
	case provider == "" && len(names) == 1:
		return names[0], known.Tokens[names[0]], nil
	case provider == "" && len(names) > 1:
		return "", heldToken{}, cli.Wrong("which token? Use --provider: %s", strings.Join(names, ", "))
	}
	token, is := known.Tokens[provider]
	if !is {
		return "", heldToken{}, fmt.Errorf("the agent has no token%s\nnext: athctl try authorize, then athctl try token", forName(provider))
	}
	return provider, token, nil
}

func forName(provider string) string {
	if provider == "" {
		return ""
	}
	return " for " + cli.Printable(provider, 64)
}

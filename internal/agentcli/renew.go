package agentcli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
)

func newRenew(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "renew",
		Short:   "get another token, without the user",
		GroupID: groupHandshake,
		Example: `  athctl try renew
  athctl try renew --provider shop --scope products:read`,
	})
	provider := c.Flags().String("provider", "", "the `ID` of the token's provider, where there are several")
	var scopes scopeList
	c.Flags().Var(&scopes, "scope", "only for `SCOPE` of those that the user has allowed; several times, or with commas")
	return c.runs(func(ctx context.Context, _ []string) error { return c.runRenew(ctx, *provider, scopes) })
}

func (c *command) runRenew(ctx context.Context, provider string, scopes []string) error {
	_, known, err := c.registered()
	if err != nil {
		return err
	}
	name, held, err := c.held(known, provider)
	if err != nil {
		return err
	}
	reply, token, err := c.renew(ctx, name, &held, scopes)
	if err != nil {
		return err
	}
	return c.showToken(reply, token)
}

// renew gets another token and keeps it.
func (c *command) renew(ctx context.Context, provider string, held *heldToken, scopes []string) (*client.Token, heldToken, error) {
	reply, err := c.client.Renew(ctx, held.of(provider), scopes...)
	if errors.Is(err, client.ErrNoRenewal) {
		return nil, heldToken{}, fmt.Errorf("the token for %s has no renewal: the server gives none, or it has been revoked\nnext: athctl try authorize, then athctl try token", cli.Printable(provider, 64))
	}
	if err != nil {
		return nil, heldToken{}, err
	}
	token := heldOf(reply, held.API)
	return reply, token, c.update(func(known *serverState) { known.hold(provider, token) })
}

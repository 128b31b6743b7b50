package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/oauthserver"
)

// Who asks the OAuth server, beside browsers.
const shopAPI = "shop" // introspects tokens

// newOAuth is the demo's OAuth server.
func newOAuth(t cli.Terminal) *cobra.Command {
	s := newService(t, &cobra.Command{
		Use:   "oauth",
		Short: "the OAuth server",
		Example: "  athdemo oauth --issuer http://localhost:9000 --callback http://localhost:8080/ath/callback" +
			" --client-secret-file client.secret --shop-secret-file shop.secret",
	})
	listen := s.Flags().String("listen", "127.0.0.1:9000", "`host:port`")
	issuer := s.Flags().String("issuer", "", "the server's own `URL`, as browsers see it")
	callback := s.Flags().String("callback", "", "the redirect `URI` of athd")
	clientSecret := s.Flags().String("client-secret-file", "", "the `file` with athd's client secret")
	shopSecret := s.Flags().String("shop-secret-file", "", "the `file` with the secret by which the shop asks about tokens")
	state := s.Flags().String("state", "", "the `file` that keeps grants over a restart; without, nothing does")
	return s.runs(func(ctx context.Context) error {
		client, err := secretOf(*clientSecret)
		if err != nil {
			return err
		}
		shop, err := secretOf(*shopSecret)
		if err != nil {
			return err
		}
		return s.serveOAuth(ctx, *listen, *issuer, *callback, *state, client, shop)
	}, "issuer", "callback", "client-secret-file", "shop-secret-file")
}

func (s *service) serveOAuth(ctx context.Context, listen, issuer, callback, state string, client, shop ath.Secret) error {
	server, err := oauthserver.New(oauthserver.Config{
		Issuer: issuer,
		Clients: []oauthserver.Client{{
			ID: clientID, Name: "The Shop, for AI agents", Secret: client.Reveal(),
			RedirectURIs:      []string{callback},
			Scopes:            []string{"products:read", "cart:write", "orders:read", "orders:write"},
			AlwaysRefreshable: true,
		}},
		Users: []oauthserver.User{{ID: userID, Name: userName, Password: userPassword}},
		APIs:  []oauthserver.API{{ID: shopAPI, Secret: shop.Reveal()}},
		File:  state,
	})
	if err != nil {
		return err
	}
	return s.serveUntil(ctx, listen, server)
}

package main

import (
	"context"

	"github.com/athd/athd/internal/oauthserver"
)

// Who asks the OAuth server, beside browsers.
const shopAPI = "shop" // introspects tokens

// serveOAuth is the demo's OAuth server.
func serveOAuth(ctx context.Context, s *service) error {
	listen := s.String("listen", "127.0.0.1:9000", "`host:port`")
	issuer := s.String("issuer", "", "the server's own `URL`, as browsers see it")
	callback := s.String("callback", "", "the redirect `URI` of athd")
	clientSecret := s.String("client-secret-file", "", "the `file` with athd's client secret")
	shopSecret := s.String("shop-secret-file", "", "the `file` with the secret by which the shop asks about tokens")
	state := s.String("state", "", "the `file` that keeps grants over a restart; without, nothing does")
	if err := s.parse("issuer", "callback", "client-secret-file", "shop-secret-file"); err != nil {
		return err
	}
	client, err := secretOf(*clientSecret)
	if err != nil {
		return err
	}
	shop, err := secretOf(*shopSecret)
	if err != nil {
		return err
	}
	server, err := oauthserver.New(oauthserver.Config{
		Issuer: *issuer,
		Clients: []oauthserver.Client{{
			ID: clientID, Name: "The Shop, for AI agents", Secret: client.Reveal(),
			RedirectURIs:      []string{*callback},
			Scopes:            []string{"products:read", "cart:write", "orders:read", "orders:write"},
			AlwaysRefreshable: true,
		}},
		Users: []oauthserver.User{{ID: userID, Name: userName, Password: userPassword}},
		APIs:  []oauthserver.API{{ID: shopAPI, Secret: shop.Reveal()}},
		File:  *state,
	})
	if err != nil {
		return err
	}
	return s.serveUntil(ctx, *listen, server)
}

package client_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
)

// An agent from its key to its first call. The user's browser brings the code
// to the page of the agent that is its redirect URI.
func Example() {
	if err := run(context.Background(), func(authorizationURL string) *http.Request {
		panic("send the user to " + authorizationURL + " and wait for the request to the redirect URI")
	}); err != nil {
		fmt.Println(err)
	}
}

func run(ctx context.Context, askUser func(authorizationURL string) *http.Request) error {
	key, err := client.NewKey() // once: keep client.EncodeKey(key)
	if err != nil {
		return err
	}
	identity, err := client.NewIdentity("https://agent.example.com/agent.json", "Shopping Assistant", key)
	if err != nil {
		return err
	}
	identity.Developer = api.Developer{Name: "Example Inc.", ID: "example.com"}
	http.Handle("/agent.json", identity) // what the server checks attestations with

	c, err := client.New(client.Config{Server: "https://gateway.example.com", Agent: identity})
	if err != nil {
		return err
	}
	const redirectURI = "https://agent.example.com/callback"
	scopes := []string{"products:read"}
	reply, err := c.Register(ctx, client.Registration{
		Provider: "shop", Scopes: scopes, Purpose: "Finds what the user asks for", RedirectURIs: []string{redirectURI},
	}) // once: keep c.Credentials()
	if err != nil {
		return err
	}
	if reply.Status != api.StatusApproved {
		return fmt.Errorf("the agent is %s: an operator decides, and c.Status shows when", reply.Status)
	}

	authorization, err := c.Authorize(ctx, client.Consent{Provider: "shop", Scopes: scopes, RedirectURI: redirectURI})
	if err != nil {
		return err
	}
	code, err := authorization.Code(askUser(authorization.URL).URL.Query())
	if err != nil {
		return err
	}
	token, err := c.Exchange(ctx, authorization, code)
	if err != nil {
		return err
	}

	server, err := c.Discover(ctx)
	if err != nil {
		return err
	}
	base, err := server.API("shop")
	if err != nil {
		return err
	}
	// Calls go on for as long as the user's consent lasts, here and in the next
	// process, which gets what Keep has kept last.
	access, err := c.Access(client.AccessConfig{
		Token: *token, API: base,
		Keep: func(_ context.Context, t client.Token) error {
			return keep(t.Access.Reveal(), t.Provider, t.Scopes, t.Expires, t.Renewal.Reveal(), t.RenewalExpires)
		},
		Heal: func(_ context.Context, link string) error { // on the server's consent origin, as discovery names it
			fmt.Println("the provider has ended what you allowed: open", link)
			return nil
		},
	})
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: access}).Get(base + "/products")
	switch client.CodeOf(err) {
	case ath.TokenInvalid, ath.TokenExpired, ath.TokenRevoked:
		return fmt.Errorf("authorize again: %w", err)
	case ath.ScopeNotApproved:
		return fmt.Errorf("ask for the scope that covers this call: %w", err)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	last := access.Token()
	if last.Renewal.IsZero() {
		return c.Revoke(ctx, last.Access)
	}
	return c.Revoke(ctx, last.Renewal) // and all tokens that came of it
}

// keep writes to a file that nobody else can read, or to a vault.
func keep(values ...any) error { return nil }

package authz_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

const agentID = "https://agent.example.com/agent.json"

// oneGrant is a store that knows one token.
type oneGrant struct{ token ath.Token }

func (s oneGrant) Read(_ context.Context, token ath.Token, _ string) (tokenstore.Reading, error) {
	if token.Digest() != s.token.Digest() {
		return tokenstore.Reading{}, nil
	}
	later := time.Now().Add(time.Hour)
	return tokenstore.Reading{
		Grant: &tokenstore.Grant{
			Agent: agentID, ClientID: "client", User: "alice", Provider: "shop",
			Scopes: ath.Scopes{"products:read"}, Connection: token.Tag(), Expires: later,
		},
		Connection: &tokenstore.Connection{
			Agent: agentID, User: "alice", Provider: "shop", Access: ath.NewSecret("the-token-of-alice"),
			Destination: "https://login.shop.example/token athd https://api.shop.example",
		},
		Agent: &tokenstore.Agent{
			ID: agentID, ClientID: "client", ApprovalExpires: later,
			Approvals: []tokenstore.Approval{{Provider: "shop", Approved: ath.Scopes{"products:read"}}},
		},
	}, nil
}

// A Decider answers for each request whether it may pass, and with which
// credential; a refusal is what the agent is told.
func ExampleDecider() {
	list, faults := provider.Parse("providers.json", []byte(`{"shop": {
		"display_name": "Shop", "available_scopes": ["products:read"],
		"authorize_endpoint": "https://login.shop.example/authorize", "token_endpoint": "https://login.shop.example/token",
		"api_base_url": "https://api.shop.example", "client_id": "athd", "client_secret": "secret",
		"scope_rules": [{"scope": "products:read", "methods": ["GET"], "paths": ["/products/**"]}]
	}}`), provider.Options{PublicURL: "https://gateway.example"})
	if len(faults) > 0 {
		fmt.Println(faults)
		return
	}
	set, err := provider.NewSet(list...)
	if err != nil {
		fmt.Println(err)
		return
	}
	token := ath.NewToken(ath.NewTag())
	d, err := authz.New(authz.Config{
		Store: oneGrant{token}, Providers: provider.NewProviders(set),
		Audit: audit.New(audit.Config{Writer: io.Discard}), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, method := range []string{"GET", "DELETE"} {
		decision := d.Decide(context.Background(), authz.Request{
			Method: method, Path: "/ath/proxy/shop/products/7", Provider: "shop", Mount: "/ath/proxy/shop/",
			Authorization: []string{"Bearer " + token.Secret().Reveal()}, AgentID: []string{agentID},
		})
		if decision.Allowed() {
			fmt.Println(method, "passes as", decision.User, "with", decision.Authorization().Reveal())
			continue
		}
		refusal := decision.Refusal()
		fmt.Println(method, refusal.Status(), refusal.Code, decision.Reason())
	}
	// Output:
	// GET passes as alice with Bearer the-token-of-alice
	// DELETE 403 SCOPE_NOT_APPROVED scope_missing
}

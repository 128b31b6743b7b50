package tokenstore_test

import (
	"context"
	"fmt"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// A token is issued, read for a decision, and revoked.
func Example() {
	store, err := tokenstore.Open(tokenstore.Config{URL: tokenstore.Embedded}) // or redis://host:port/0, and a Keyset
	if err != nil {
		panic(err)
	}
	defer store.Close()

	ctx, now := context.Background(), time.Now()
	agent := tokenstore.Agent{
		ID:              "https://agents.example/travel.json",
		Approvals:       []tokenstore.Approval{{Provider: "github", Approved: ath.Scopes{"repo"}}},
		ApprovalExpires: now.Add(24 * time.Hour),
	}
	connection := tokenstore.Connection{Agent: agent.ID, User: "user-1", Provider: "github", Access: ath.NewSecret("the user's OAuth token")}
	token := ath.NewToken(ath.NewTag()) // carries the tag of its connection
	grant := tokenstore.Grant{
		Agent: agent.ID, User: "user-1", Provider: "github", Scopes: ath.Scopes{"repo"},
		Connection: token.Tag(), Issued: now, Expires: now.Add(time.Hour),
	}
	for _, err := range []error{
		store.CreateAgent(ctx, agent),
		store.PutConnection(ctx, token.Tag(), connection, now.Add(time.Hour)),
		store.PutGrant(ctx, token, grant),
	} {
		if err != nil {
			panic(err)
		}
	}

	read, err := store.Read(ctx, token, agent.ID) // one round trip
	fmt.Println(read.Grant.Scopes, read.Agent.Standing(), read.Connection.Access, err)

	held, err := store.Grant(ctx, token)
	if err != nil {
		panic(err)
	}
	if err := store.Revoke(ctx, held, now); err != nil {
		panic(err)
	}
	read, err = store.Read(ctx, token, agent.ID)
	fmt.Println("revoked:", !read.Grant.Revoked.IsZero(), "connection:", read.Connection, err)
	// Output:
	// [repo] approved [redacted] <nil>
	// revoked: true connection: <nil> <nil>
}

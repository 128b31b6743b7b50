package tokenstore

import (
	"testing"
	"time"

	"github.com/athd/athd/ath"
)

// BenchmarkDecode reads the three records of a decision that finds none of them
// in the decrypt cache, behind the seal.
func BenchmarkDecode(b *testing.B) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	agent, err := encodeAgent(Agent{
		ID: "https://agents.example/travel.json", ClientID: "ath_0123456789abcdef_0123456789abcdef", SecretDigest: ath.DigestOf("s"),
		Name: "Travel agent", Developer: Developer{"Dev", "dev-1", "a@b.example"}, Purpose: "to book",
		RedirectURIs: []string{"https://agents.example/cb"}, Approvals: []Approval{{Provider: "github", Approved: ath.Scopes{"repo", "gist"}}},
		ApprovalExpires: at, Registered: at,
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	grant, err := encodeGrant(Grant{
		Agent: "https://agents.example/travel.json", ClientID: "ath_0123456789abcdef_0123456789abcdef", User: "user-1", Provider: "github",
		Scopes: ath.Scopes{"repo"}, Connection: "0123456789abcdef", Issued: at, Expires: at,
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	connection, err := encodeConnection(Connection{
		Agent: "https://agents.example/travel.json", User: "user-1", Provider: "github",
		Access: ath.NewSecret("gho_0123456789abcdef0123456789abcdef"), Refresh: ath.NewSecret("ghr_0123456789abcdef0123456789abcdef"),
		Expires: at, Scopes: ath.Scopes{"repo"}, Created: at, Destination: "https://api.github.example",
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, _, errAgent := decodeAgent(agent)
		_, _, errGrant := decodeGrant(grant)
		_, _, errConnection := decodeConnection(connection)
		if errAgent != nil || errGrant != nil || errConnection != nil {
			b.Fatal(errAgent, errGrant, errConnection)
		}
	}
}

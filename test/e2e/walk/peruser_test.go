package walk

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
)

// At a server that ends a user's older grant at a new consent, as Dex and
// Cloudflare's library do, two agents of one user both work after the second consent,
// also when the tokens are refreshed, each for what it was allowed. With the default
// the first one's token is dead there.
//
// proves: T-7
func TestAgentsOfOneUserAtAServerThatKeepsOneGrant(t *testing.T) {
	for _, grants := range []string{"per_consent", "per_user"} {
		t.Run(grants, func(t *testing.T) {
			s := stage.Start(t, stage.Options{
				Mode: "native", AccessTTL: 3 * time.Second, Refreshable: true, OneGrantPerUser: true, Grants: grants, AppMore: `  scope_rules:
  - {scope: "products:read", methods: [GET], paths: ["/api/products", "/api/products/**"]}
  - {scope: "orders:read", methods: [GET], paths: ["/api/orders", "/api/orders/**"]}
`})
			call := func(token client.Token, path string) reply {
				t.Helper()
				s.App.Forget()
				return raw(t, s, request(s, "GET", path, token.Access.Reveal(), token.AgentID, "Connection: close")...)
			}
			// upstream is the token that the API sees, and whether it lives.
			upstream := func(token client.Token, path string) (string, bool) {
				t.Helper()
				r := call(token, path)
				match := bearer.FindStringSubmatch(s.App.Bytes())
				if match == nil {
					t.Errorf("%s: %d %s", path, r.status, r.body)
					return "", false
				}
				seen := strings.TrimPrefix(match[1], "Bearer ")
				user, _, live := s.OAuth.Lookup(seen)
				return seen, live && user == stage.UserID
			}
			one := s.Token(s.NewAgent("one"), stage.App, "products:read")
			first, live := upstream(one, "/api/products")
			if !live {
				t.Fatal("the first agent's token does not work")
			}
			two := s.Token(s.NewAgent("two"), stage.App, "orders:read")
			if _, live := upstream(two, "/api/orders"); !live {
				t.Fatal("the second agent's token does not work")
			}
			seen, live := upstream(one, "/api/products")
			if grants == "per_consent" {
				if live {
					t.Error("the server keeps both: this test shows nothing")
				}
				return
			}
			if !live || seen == first {
				t.Error("after the second consent the first agent's token is dead")
			}
			if r := call(one, "/api/orders"); r.status != http.StatusForbidden {
				t.Errorf("one agent may do what the user allowed another one: %d %s", r.status, r.body)
			}
			if r := call(two, "/api/products"); r.status != http.StatusForbidden {
				t.Errorf("one agent may do what the user allowed another one: %d %s", r.status, r.body)
			}
			tokens := []string{seen}
			for end := time.Now().Add(30 * time.Second); len(tokens) < 3 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				a, _ := upstream(one, "/api/products")
				b, live := upstream(two, "/api/orders")
				if a == "" || b == "" {
					t.Fatalf("after %d tokens a call fails", len(tokens))
				}
				if !slices.Contains(tokens, b) {
					tokens = append(tokens, b)
					if !live {
						t.Errorf("refreshed token %d is dead", len(tokens))
					}
				}
			}
			if stats := s.OAuth.Stats(); stats.RefreshReuses != 0 || len(tokens) < 3 {
				t.Errorf("%d refreshes, %d tokens, %d refresh tokens used twice", stats.Refreshes, len(tokens), stats.RefreshReuses)
			}
		})
	}
}

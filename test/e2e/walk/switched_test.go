package walk

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
)

// What was consented to before `grants` changes goes on as it was, refreshed too,
// in either direction; what is consented to afterwards is of the new kind. An end of
// the user's takes all of it.
// proves: T-7
func TestConnectionsOutliveASwitchOfGrants(t *testing.T) {
	s := stage.Start(t, stage.Options{Mode: "native", AccessTTL: 3 * time.Second, Refreshable: true, AppMore: `  scope_rules:
  - {scope: "products:read", methods: [GET], paths: ["/api/products", "/api/products/**"]}
  - {scope: "orders:read", methods: [GET], paths: ["/api/orders", "/api/orders/**"]}
`})
	const each, user = "client_id: athd, client_secret", "grants: per_user, client_id: athd, client_secret"
	// upstream is the token that the API sees. While it is refreshed it may have ended
	// at the server already.
	upstream := func(name string, token client.Token) string {
		t.Helper()
		s.App.Forget()
		r := raw(t, s, request(s, "GET", "/api/products", token.Access.Reveal(), token.AgentID, "Connection: close")...)
		match := bearer.FindStringSubmatch(s.App.Bytes())
		if r.status != http.StatusOK || match == nil {
			t.Fatalf("%s: %d %s", name, r.status, r.body)
		}
		seen := strings.TrimPrefix(match[1], "Bearer ")
		if of, _ := s.OAuth.Whose(seen); of != stage.UserID {
			t.Errorf("%s: the API sees a token of %q", name, of)
		}
		return seen
	}
	tokens := map[string]client.Token{}
	consent := func(name string) ath.Tag {
		t.Helper()
		tokens[name] = s.Token(s.NewAgent(name), stage.App, "products:read")
		return ath.Tag(connectionOf(t, tokens[name].Access))
	}
	// refreshed waits until each of them has been refreshed since now.
	refreshed := func(names ...string) {
		t.Helper()
		for _, name := range names {
			first := upstream(name, tokens[name])
			next := first
			for end := time.Now().Add(30 * time.Second); next == first; next = upstream(name, tokens[name]) {
				if time.Now().After(end) {
					t.Fatalf("%s: never refreshed", name)
				}
				time.Sleep(20 * time.Millisecond) // the agent's pace
			}
			if _, _, live := s.OAuth.Lookup(next); !live {
				t.Errorf("%s: the refreshed token is dead", name)
			}
		}
	}

	alone := consent("alone")
	change(t, s, each, user)
	upstream("alone", tokens["alone"])
	shared, again := consent("shared"), consent("again")
	if shared != again || shared == alone {
		t.Errorf("connections %s, %s and %s: the last two are one, and not the first", alone, shared, again)
	}
	refreshed("alone", "shared", "again")
	if r := raw(t, s, request(s, "GET", "/api/orders", tokens["shared"].Access.Reveal(), tokens["shared"].AgentID, "Connection: close")...); r.status != http.StatusForbidden {
		t.Errorf("a shared token opens more than its agent was allowed: %d", r.status)
	}

	change(t, s, user, each)
	if last := consent("last"); last == shared || last == alone {
		t.Errorf("a consent of after the switch is on connection %s", last)
	}
	refreshed("alone", "shared", "again", "last")
	if stats := s.OAuth.Stats(); stats.RefreshReuses > 0 {
		t.Errorf("%d refresh tokens were used twice", stats.RefreshReuses)
	}

	if r := post(t, s, "/ath/admin/users/end", `{"user_id":"`+stage.UserID+`"}`, "X-ATH-User-Token", stage.AdminKey); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for name, token := range tokens {
		if r := raw(t, s, request(s, "GET", "/api/products", token.Access.Reveal(), token.AgentID, "Connection: close")...); r.status != http.StatusUnauthorized {
			t.Errorf("%s: after the user's end: %d %s", name, r.status, r.body)
		}
	}
}

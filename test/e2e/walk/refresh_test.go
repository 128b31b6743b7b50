package walk

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/stage"
)

// Users' tokens that live for two seconds, as Keycloak's for five minutes, at a
// server that gives a refresh token for one use and ends the grant at the second:
// calls go on through Envoy as if there were nothing, and after a rest.
//
// proves: P-5, P-6, T-9
func TestCallsOutliveTheUsersAccessToken(t *testing.T) {
	s := stage.Start(t, stage.Options{AccessTTL: 2 * time.Second, Refreshable: true})
	token := s.Token(s.NewAgent("long"), stage.App, "products:read")
	if left := time.Until(token.Expires); left < 59*time.Minute {
		t.Errorf("T-9: the ATH token ends in %v, though its user's token can be refreshed", left)
	}
	seen := map[string]bool{}
	call := func() {
		t.Helper()
		s.App.Forget()
		r := raw(t, s, request(s, "GET", "/api/products", token.Access.Reveal(), token.AgentID, "Connection: close")...)
		if r.status != http.StatusOK {
			t.Fatalf("after %d tokens: %d %s", len(seen), r.status, r.body)
		}
		match := bearer.FindStringSubmatch(s.App.Bytes())
		if match == nil {
			t.Fatal("the API saw no token")
		}
		seen[strings.TrimPrefix(match[1], "Bearer ")] = true
	}
	for len(seen) < 4 {
		call()
		time.Sleep(20 * time.Millisecond)
	}
	if status, metrics := s.Athd.Get("/metrics"); status != http.StatusOK || !strings.Contains(metrics, `athd_refreshes_total{outcome="refreshed",provider="shop"}`) {
		t.Error("the metric does not count them")
	}
	before := s.OAuth.Stats().Refreshes
	time.Sleep(2500 * time.Millisecond) // nobody calls, and the token ends
	if n := s.OAuth.Stats().Refreshes - before; n > 1 {
		t.Errorf("%d refreshes of a connection that is not used", n)
	}
	call()
	if stats := s.OAuth.Stats(); stats.RefreshReuses != 0 || stats.Refreshes < len(seen)-1 {
		t.Errorf("%d refreshes for %d tokens, %d refresh tokens used twice", stats.Refreshes, len(seen), stats.RefreshReuses)
	}
	for secret := range seen {
		if strings.Contains(s.Athd.Logs(), secret) {
			t.Error("athd's log holds a user's token")
		}
	}
	for _, issued := range s.OAuth.Issued() {
		if strings.Contains(s.Athd.Logs(), issued) {
			t.Error("athd's log holds a token of the OAuth server")
		}
	}
}

// What is gone for good says so, and an operator sees why.
//
// proves: P-6
func TestARefusedRefreshAsksForANewConsent(t *testing.T) {
	s := stage.Start(t, stage.Options{AccessTTL: time.Second, Refreshable: true})
	agent := s.NewAgent("refused")
	token := s.Token(agent, stage.App, "products:read")
	s.EndGrants()
	var r reply
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if r = raw(t, s, request(s, "GET", "/api/products", token.Access.Reveal(), token.AgentID, "Connection: close")...); r.status != http.StatusOK {
			break
		}
	}
	if r.status != http.StatusUnauthorized || r.code() != "TOKEN_INVALID" || r.details()["reason"] != "reauthorization_required" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if logs := s.Athd.Logs(); !strings.Contains(logs, `"connection_condemned"`) || !strings.Contains(logs, "invalid_grant") {
		t.Error("there is no event connection_condemned with invalid_grant")
	}
	if again := s.Token(agent, stage.App, "products:read"); again.Access.IsZero() {
		t.Error("a new consent gives no token")
	}
}

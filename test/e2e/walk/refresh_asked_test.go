package walk

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/test/harness/stage"
)

// An operator refreshes a user's token at a server whose refresh tokens are good
// for one use, ahead of its time: calls go on with the new one; then the user is
// gone, and the operator is told.
func TestAnOperatorRefreshesAConnection(t *testing.T) {
	s := stage.Start(t, stage.Options{AccessTTL: time.Hour, Refreshable: true})
	token := s.Token(s.NewAgent("asked"), stage.App, "products:read")
	connection := connectionOf(t, token.Access)
	used := func() string {
		t.Helper()
		s.App.Forget()
		if r := raw(t, s, request(s, "GET", "/api/products", token.Access.Reveal(), token.AgentID, "Connection: close")...); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.body)
		}
		return bearer.FindString(s.App.Bytes())
	}
	first := used()
	if got := refresh(t, s, connection); got.Outcome != api.RefreshDone || got.Expires == "" {
		t.Fatalf("%+v", got)
	}
	if second := used(); second == first || second == "" {
		t.Error("the API sees the old token")
	}
	for range 5 {
		if got := refresh(t, s, connection); got.Outcome != api.RefreshFresh {
			t.Errorf("right after: %+v", got)
		}
	}
	if stats := s.OAuth.Stats(); stats.Refreshes != 1 || stats.RefreshReuses != 0 {
		t.Errorf("%d refreshes, %d refresh tokens used twice", stats.Refreshes, stats.RefreshReuses)
	}
	used()
	logs := s.Athd.Logs()
	if !strings.Contains(logs, `"connection_refresh_asked"`) || !strings.Contains(logs, `"connection_refreshed"`) {
		t.Error("it is not on record")
	}
	for _, issued := range s.OAuth.Issued() {
		if strings.Contains(logs, issued) {
			t.Error("athd's log holds a token of the OAuth server")
		}
	}
	other := s.Token(s.NewAgent("gone"), stage.App, "products:read")
	s.EndGrants()
	if got := refresh(t, s, connectionOf(t, other.Access)); got.Outcome != api.RefreshRefused || got.Upstream != "invalid_grant" {
		t.Errorf("%+v", got)
	}
}

func refresh(t *testing.T, s *stage.Stage, connection string) (reply api.ConnectionRefreshReply) {
	t.Helper()
	admin, err := os.ReadFile(filepath.Join(s.Dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Public+"/ath/admin/connections/"+connection+"/refresh", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-ATH-User-Token", strings.TrimSpace(string(admin)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(body, &reply) != nil {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	return reply
}

// connectionOf returns the id of the connection behind an ATH token.
func connectionOf(t *testing.T, token ath.Secret) string {
	t.Helper()
	parsed, err := ath.ParseToken(token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return ath.NewConnectionID(parsed.Tag()).String()
}

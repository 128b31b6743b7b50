package walk

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
)

// The whole handshake and a call where nothing of the OAuth server is written
// but its issuer, from a start without the server on.
// proves: M-1, C-2, P-5
func TestWalkByTheIssuerAlone(t *testing.T) {
	away := &atomic.Bool{}
	away.Store(true)
	s := stage.Start(t, stage.Options{IssuerAlone: true, NoMetadata: away})

	early := s.NewAgent("early")
	if _, err := s.Register(early, stage.Provider, "pictures:read"); err != nil {
		t.Fatal("an agent cannot register while the OAuth server is away:", err)
	}
	authorize := func(c *client.Client) error {
		_, err := c.Authorize(t.Context(), client.Consent{Provider: stage.Provider, Scopes: []string{"pictures:read"}})
		return err
	}
	err := authorize(early)
	refused, ok := errors.AsType[*client.Error](err)
	if !ok || refused.Status != http.StatusServiceUnavailable || refused.Code != "OAUTH_ERROR" || refused.RetryAfter == 0 {
		t.Fatalf("without endpoints the agent is answered %v", err)
	}
	if _, ready := s.Athd.Get("/readyz"); !strings.Contains(ready, `"ready"`) || !strings.Contains(ready, "metadata could not be had yet") {
		t.Errorf("/readyz says %s", ready)
	}

	away.Store(false)
	for end := time.Now().Add(30 * time.Second); authorize(early) != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the OAuth server answers, and athd does not go on")
		}
	}
	walks := func(name string) {
		t.Helper()
		token := s.Token(s.NewAgent(name), stage.Provider, "pictures:read")
		passes(t, s, s.Gallery, token.Access.Reveal(), token.AgentID, "/ath/proxy/gallery/pictures/7", "GET /v1/pictures/7 HTTP/1.1\r\n")
		token = s.Token(s.NewAgent(name+"-native"), stage.App, "products:read")
		passes(t, s, s.App, token.Access.Reveal(), token.AgentID, "/api/products", "GET /api/products HTTP/1.1\r\n")
	}
	walks("first")

	// What is kept in Redis is enough to start with.
	away.Store(true)
	s.RestartAthd()
	walks("second")
}

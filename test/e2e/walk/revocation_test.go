package walk

import (
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
)

// Two agents of one user: what the first gives back leaves the second alone, and
// with the second both grants end at the OAuth server, too.
//
// proves: V-5
func TestTheEndOfTheLastConnectionEndsTheGrantAtTheProvider(t *testing.T) {
	s := stage.Start(t, stage.Options{Refreshable: true})
	first, second := s.NewAgent("first"), s.NewAgent("second")
	one, two := s.Token(first, stage.App, "products:read"), s.Token(second, stage.App, "products:read")
	upstream := func(c *client.Client, token client.Token) string {
		t.Helper()
		s.App.Forget()
		if r := raw(t, s, request(s, "GET", "/api/products", token.Access.Reveal(), token.AgentID, "Connection: close")...); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		match := bearer.FindStringSubmatch(s.App.Bytes())
		if match == nil {
			t.Fatal("the API saw no token")
		}
		return strings.TrimPrefix(match[1], "Bearer ")
	}
	theirs := []string{upstream(first, one), upstream(second, two)}
	alive := func(i int) bool { _, _, ok := s.OAuth.Lookup(theirs[i]); return ok }
	if !alive(0) || !alive(1) {
		t.Fatal("the users' tokens are not the server's")
	}
	if err := first.Revoke(t.Context(), one.Access); err != nil {
		t.Fatal(err)
	}
	counted := func(name, want string) bool {
		_, metrics := s.Athd.Get("/metrics")
		for line := range strings.Lines(metrics) {
			if strings.HasPrefix(line, name+" ") {
				return strings.TrimSpace(strings.TrimPrefix(line, name)) == want
			}
		}
		return false
	}
	await := func(what string, done func() bool) {
		t.Helper()
		for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	const queued, revoked = "athd_upstream_revocations_queued", `athd_upstream_revocations_total{outcome="revoked",provider="shop"}`
	await("the first one's grant is not queued", func() bool { return counted(queued, "1") })
	if !alive(1) || !counted(revoked, "0") {
		t.Fatal("the first one's end has reached the provider")
	}
	upstream(second, two)
	if err := second.Revoke(t.Context(), two.Access); err != nil {
		t.Fatal(err)
	}
	await("the grants are alive at the provider", func() bool { return !alive(0) && !alive(1) })
	await("nobody counts them", func() bool { return counted(revoked, "2") && counted(queued, "0") })
	if n := strings.Count(s.Athd.Logs(), `"connection_revoked"`); n != 2 {
		t.Errorf("%d events connection_revoked", n)
	}
	for _, issued := range s.OAuth.Issued() {
		if strings.Contains(s.Athd.Logs(), issued) {
			t.Error("athd's log holds a token of the OAuth server")
		}
	}
	if again := s.Token(first, stage.App, "products:read"); again.Access.IsZero() {
		t.Error("a new consent gives no token")
	}
}

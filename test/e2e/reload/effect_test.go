package reload

import (
	"context"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/test/harness/stage"
)

// taken writes files and has athd take them now.
func taken(t *testing.T, s *stage.Stage, all files) {
	t.Helper()
	ways[1].write(t, s.Dir, all)
	s.Athd.Signal(syscall.SIGHUP)
	want := digest(t, s)
	await(t, s, "the files are taken", func(c api.ReadinessCheck, _ []string) bool { return c.OK && c.Digest == want })
}

// What is taken holds at the very next request: a rule that denies, a provider that is
// gone, how often a consent may call, and an operator's token that is none any more.
// With the files as they were all is as before, and nobody has to consent again.
// proves: P-4, P-3, P-12, V-2
func TestWhatIsTakenHoldsAtTheNextRequest(t *testing.T) {
	s := stage.Start(t, stage.Options{Providers: map[string]any{"spare": spare}})
	agent := s.NewAgent("shopper")
	token := s.Token(agent, stage.Provider, "pictures:read")
	other := s.NewAgent("another")
	others := s.Token(other, stage.Provider, "pictures:read")
	base := read(t, s, "athd.yaml", "providers.json", "admin.token")
	const path = "/ath/proxy/gallery/pictures/7"
	status := func(wants int, of string) {
		t.Helper()
		if ex := s.Call(agent, token, http.MethodGet, path); ex.Status != wants || wants != http.StatusOK && ex.Header.Get("X-ATH-Decision-ID") == "" {
			t.Errorf("%s: %d %s, want %d", of, ex.Status, ex.Reply, wants)
		}
	}
	status(http.StatusOK, "")
	denies := "  default: approve\n  rules: [{agents: ['" + agent.Agent().ID() + "'], providers: [gallery], action: deny}]"
	taken(t, s, change{old: "  default: approve", new: denies}.apply(t, base))
	status(http.StatusForbidden, "a rule that denies")
	if ex := s.Call(other, others, http.MethodGet, path); ex.Status != http.StatusOK {
		t.Errorf("another agent's call: %d %s", ex.Status, ex.Reply)
	}
	taken(t, s, base)
	status(http.StatusOK, "")

	taken(t, s, change{of: "providers.json", old: `"gallery": {`, new: `"gallery-2": {`}.apply(t, base))
	status(http.StatusForbidden, "a provider that is gone")
	taken(t, s, base)
	status(http.StatusOK, "")

	taken(t, s, change{new: "limits: {calls_per_grant: 1/h}\n"}.apply(t, base))
	status(http.StatusOK, "the one call of the hour")
	status(http.StatusTooManyRequests, "the next one")
	taken(t, s, base)
	status(http.StatusOK, "")

	// The line that tells of it is below the level that it tells of.
	lines := func() int { return strings.Count(s.Athd.Logs(), "configuration taken") }
	before := lines()
	taken(t, s, change{old: "level: debug", new: "level: error"}.apply(t, base))
	if n := lines() - before; n != 0 {
		t.Errorf("the log goes on at its old level: %d lines", n)
	}
	taken(t, s, base)
	if n := lines() - before; n != 1 {
		t.Errorf("the log tells %d times of its new level, want once", n)
	}

	operator := func() int {
		r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, s.Public+"/ath/admin/agents", nil)
		must(t, err)
		r.Header.Set("X-ATH-User-Token", stage.AdminKey)
		resp, err := http.DefaultTransport.RoundTrip(r)
		must(t, err)
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if got := operator(); got != http.StatusOK {
		t.Fatalf("the operator: %d", got)
	}
	taken(t, s, base.with(files{"admin.token": secondToken + "\n"}))
	if got := operator(); got != http.StatusUnauthorized {
		t.Errorf("a token that is none any more: %d", got)
	}
	taken(t, s, base)
	if got := operator(); got != http.StatusOK {
		t.Errorf("and is one again: %d", got)
	}
}

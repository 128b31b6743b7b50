package walk

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// TestOperatorAndAgentThroughEnvoy takes one agent from pending to its end,
// with the real athctl, Envoy, athd and Redis.
// proves, U-1
func TestOperatorAndAgentThroughEnvoy(t *testing.T) {
	s := stage.Start(t, stage.Options{Approval: "  default: review"})
	athctl := filepath.Join(t.TempDir(), "athctl")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", athctl, "github.com/athd/athd/cmd/athctl").CombinedOutput(); err != nil {
		t.Fatalf("building athctl: %v\n%s", err, out)
	}
	operate := func(want string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), athctl, append([]string{"agents"}, append(args, "--server", s.Public, "--token-file", s.Dir+"/admin.token")...)...)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("athctl agents %s: %v, want %q\n%s", strings.Join(args, " "), err, want, out)
		}
	}
	asAgent := func(method, path, user, password string) reply {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, s.Public+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, password)
		return do(t, req)
	}
	a := s.NewAgent("watched")
	if r, err := s.Register(a, stage.Provider, "pictures:read"); err != nil || r.Status != "pending" {
		t.Fatalf("%+v, %v", r, err)
	}
	own := a.Credentials()
	id, secret := own.ClientID, own.Secret.Reveal()
	operate("pending", "list", "--status", "pending")
	operate("approved:", "approve", id, "--expires", "30d")
	first := s.Token(a, stage.Provider, "pictures:read").Access.Reveal()
	call := func(token string) reply {
		t.Helper()
		return raw(t, s, request(s, "GET", "/ath/proxy/gallery/pictures/7", token, a.Agent().ID(), "Connection: close")...)
	}
	if r := call(first); r.status != http.StatusOK {
		t.Fatalf("the approved agent's call: %d %s", r.status, r.body)
	}
	path := "/ath/agents/" + id
	if r := asAgent("GET", path, id, secret); r.status != http.StatusOK || !strings.Contains(r.body, `"agent_status":"approved"`) || strings.Contains(r.body, secret) {
		t.Errorf("R-8: %d %s", r.status, r.body)
	}
	if r := asAgent("GET", path, id, secret+"x"); r.status != http.StatusNotFound || r.code() != "NOT_FOUND" {
		t.Errorf("R-8: a wrong secret: %d %s", r.status, r.body)
	}

	operate("suspended", "suspend", id)
	if r := call(first); r.status == http.StatusOK {
		t.Error("R-6: the suspended agent's token lives")
	}
	operate("approved", "resume", id)
	if r := call(first); r.status != http.StatusUnauthorized || r.code() != "TOKEN_REVOKED" {
		t.Errorf("R-6: a token of before the suspension: %d %s", r.status, r.body)
	}
	second := s.Token(a, stage.Provider, "pictures:read").Access.Reveal()
	if r := call(second); r.status != http.StatusOK {
		t.Fatalf("the resumed agent's call: %d %s", r.status, r.body)
	}

	if r := asAgent("DELETE", path, id, secret); r.status != http.StatusOK || strings.TrimSpace(r.body) != `{"removed":true}` {
		t.Fatalf("R-7: %d %s", r.status, r.body)
	}
	if r := call(second); r.status != http.StatusUnauthorized || r.code() != "TOKEN_REVOKED" {
		t.Errorf("R-7: a removed agent's token: %d %s", r.status, r.body)
	}
	operate("no agents are registered", "list")
	for _, kind := range []string{"agent_approved", "agent_suspended", "agent_resumed", "agent_removed"} {
		if !strings.Contains(s.Athd.Logs(), `"event":"`+kind+`"`) {
			t.Errorf("U-1: no %s in the log", kind)
		}
	}
	if !strings.Contains(s.Athd.Logs(), `"by":"ops"`) {
		t.Error("U-1: the log does not tell who did it")
	}
}

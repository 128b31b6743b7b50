package agentcli

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/stage"
)

// opens runs a command that waits for its user, plays them at each link that it
// shows on standard error, and returns how it ended.
func (a *author) opens(stdin string, visit func(link string), args ...string) typed {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	cmd := a.command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, seen bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	lines := bufio.NewScanner(io.TeeReader(stderr, &seen))
	for lines.Scan() {
		if link, is := strings.CutPrefix(lines.Text(), "  http"); is {
			visit("http" + link)
		}
	}
	cmd.Wait() // how it went is in the exit code
	return typed{args, stdout.String(), seen.String(), cmd.ProcessState.ExitCode()}
}

// proves: P-11
func TestCallAsksForMore(t *testing.T) {
	s := stage.Start(t, stage.Options{})
	for _, c := range []struct{ name, provider, has, lacks, method, path string }{
		{"native", stage.App, "products:read", "orders:read", "GET", "/api/orders/1"},
		{"gateway", stage.Provider, "pictures:read", "pictures:write", "POST", "/pictures"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := authorized(t, s, c.provider, c.has)
			nobody := func(link string) { t.Errorf("the user is shown %s", link) }
			if r := a.opens("n\n", nobody, "call", "--ask", c.method, c.path); r.code != 1 || !strings.Contains(r.stderr, "the call wants more of "+c.provider+": "+c.lacks+"\n") || !strings.Contains(r.stderr, "was not asked") {
				t.Errorf("a no: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			if r := a.opens("", nobody, "call", "--ask", c.method, c.path); r.code != 1 {
				t.Errorf("nobody at the terminal: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			if r := a.opens("", nobody, "call", c.method, c.path); r.code != 1 || strings.Contains(r.stderr, "wants more") {
				t.Errorf("without --ask: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			before := a.at()["tokens"].(map[string]any)[c.provider].(map[string]any)["access_token"].(string)
			r := a.opens("y\n", func(link string) {
				b := browser.New()
				defer b.Close()
				s.Consent(b, link)
			}, "call", "--ask", c.method, c.path)
			if r.code != 0 || !strings.HasPrefix(r.stdout, "200 OK\n") {
				t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			noSecrets(t, a, r.stdout+r.stderr)
			if status := a.must("status"); !strings.Contains(status, "for "+c.provider+" ("+c.has+" "+c.lacks+"), good") {
				t.Errorf("status: %s", status)
			}
			a.must("call", c.method, c.path)
			a.edits(a.at()["tokens"].(map[string]any)[c.provider].(map[string]any)["access_token"].(string), before)
			if r := a.types("", "call", c.method, c.path); r.code != 1 || !strings.Contains(r.stderr, "TOKEN_REVOKED") {
				t.Errorf("the old token: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}
		})
	}
}

// proves: T-8, V-6
func TestTokensRenewWhereConsentsStand(t *testing.T) {
	s := stage.Start(t, stage.Options{Renewal: "{max: 90d, idle: 30d}", Refreshable: true})
	a := authorized(t, s, stage.App, "products:read,orders:read")
	held := func() map[string]any { return a.at()["tokens"].(map[string]any)[stage.App].(map[string]any) }
	status := a.must("status")
	if !strings.Contains(status, "\nrenews until:    2") {
		t.Errorf("status: %s", status)
	}
	first := held()["access_token"].(string)
	var renewed struct {
		Scopes []string `json:"effective_scopes"`
		Until  string   `json:"renews_until"`
	}
	decode(t, a.must("renew", "-o", "json", "--scope", "orders:read"), &renewed)
	if strings.Join(renewed.Scopes, " ") != "orders:read" || renewed.Until == "" || held()["access_token"] == first {
		t.Errorf("renew: %+v", renewed)
	}
	if out := a.must("renew"); !strings.Contains(out, "scopes:     products:read orders:read\n") || !strings.Contains(out, "\nrenews until: 2") {
		t.Errorf("renew: %s", out)
	}
	noSecrets(t, a, status)

	a.edits(held()["expires"].(string), "2026-01-01T00:00:00Z") // as the next day
	if r := a.types("", "call", "GET", "/api/products"); r.code != 0 || !strings.HasPrefix(r.stdout, "200 OK\n") || !strings.Contains(r.stderr, "a new token for shop, until ") {
		t.Errorf("call: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	renewal := held()["refresh_token"].(string)
	if out := a.must("revoke"); !strings.Contains(out, "and its renewal") {
		t.Errorf("revoke: %s", out)
	}
	if r := a.types("", "renew"); r.code != 1 || !strings.Contains(r.stderr, "has no renewal") {
		t.Errorf("renew after revoke: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	a.edits(`"revoked": true`, `"refresh_token": "`+renewal+`"`)
	if r := a.types("", "renew"); r.code != 1 || !strings.Contains(r.stderr, "TOKEN_REVOKED") || !strings.Contains(r.stderr, "cannot be renewed any more: authorize again") {
		t.Errorf("the renewal after revoke: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}

	b := newAuthor(t, s)
	out := b.must("run", "--serve", "127.0.0.1:0", "--provider", stage.App, "--scope", "products:read", "--call", "GET /api/products", "--consent-with", user)
	if !strings.Contains(out, "\n7. Renew: another token, without the user") {
		t.Errorf("run: %s", out)
	}
	page, err := os.ReadFile("../../../docs/agents.md")
	if held := regexp.MustCompile(`All \d+ checks held\.`).FindString(out); err != nil || held == "" || !strings.Contains(string(page), "\n"+held+"\n") {
		t.Errorf("run ends with %q, and docs/agents.md otherwise (%v): %s", held, err, out)
	}
}

// proves: P-10
func TestCallWaitsForTheUserWhoHeals(t *testing.T) {
	s := stage.Start(t, stage.Options{AccessTTL: 2 * time.Second, Refreshable: true})
	a := authorized(t, s, stage.App, "products:read")
	token := a.at()["tokens"].(map[string]any)[stage.App].(map[string]any)["access_token"]
	s.EndGrants()
	shown := ""
	for deadline := time.Now().Add(patience); shown == "" && time.Now().Before(deadline); { // the user's access token is good for a moment yet
		r := a.opens("", func(link string) { shown = link }, "call", "--wait", "0", "GET", "/api/products")
		if shown != "" && (r.code != 1 || !strings.Contains(r.stderr, "next: call again when the user has consented")) {
			t.Errorf("without waiting: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
	}
	links := 0
	r := a.opens("", func(link string) {
		links++
		s.Heal(link)
	}, "call", "GET", "/api/products")
	if r.code != 0 || links != 1 || !strings.HasPrefix(shown, s.ConsentURL+"/ath/heal/") || !strings.HasPrefix(r.stdout, "200 OK\n") || !strings.Contains(r.stderr, "waiting, 10m0s at most") {
		t.Errorf("exit code %d after %d links\n%s%s", r.code, links, r.stdout, r.stderr)
	}
	if now := a.at()["tokens"].(map[string]any)[stage.App].(map[string]any)["access_token"]; now != token {
		t.Error("it is another token")
	}
	noSecrets(t, a, r.stdout+r.stderr)
}

package examples

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/stage"
)

var (
	athCode = regexp.MustCompile(`ath_code_[\w-]+`)
	bearer  = regexp.MustCompile(`(?i)\r\nauthorization: ?([^\r]*)\r\n`)
)

// A mode is how an API is reached, and calls that make sense there.
type mode struct {
	name                string
	args                []string
	offers, scope       string
	call, outside, line string // line is what the API must see of call
	api                 *stage.Upstream
}

// Agents that share no code with us take the whole walk through a real Envoy.
// proves: M-1, D-1, D-2, R-2, T-2, P-4, P-5, V-4
func TestAgentsOfOtherLanguagesTakeTheWholeWalk(t *testing.T) {
	agents := languages(t)
	s := stage.Start(t, stage.Options{})
	modes := []mode{
		{"gateway", []string{"--mode", "gateway", "--provider", stage.Provider}, "gallery offers pictures:read pictures:write",
			"pictures:read", "GET /pictures/7?size=large", "POST /pictures", "GET /v1/pictures/7?size=large HTTP/1.1\r\n", s.Gallery},
		{"native", []string{"--mode", "native"}, "shop offers products:read cart:write orders:read",
			"products:read", "GET /api/products?page=2", "POST /api/cart", "GET /api/products?page=2 HTTP/1.1\r\n", s.App},
	}
	for _, agent := range agents {
		for _, m := range modes {
			t.Run(agent.name+" in "+m.name+" mode", func(t *testing.T) {
				port, state := freePort(t), filepath.Join(t.TempDir(), "state.json")
				args := append([]string{s.Public, "--scope", m.scope, "--call", m.call, "--outside", m.outside,
					"--port", port, "--state", state}, m.args...)
				m.api.Forget()
				lines := walk(t, s, agent, args)
				method := strings.Fields(m.call)[0]
				wantLines(t, lines, []string{
					`1\. Discover: ` + m.offers,
					`2\. Register: approved as ath_\S+ for ` + m.scope,
					`3\. Authorize: let the user open`,
					`   ` + regexp.QuoteMeta(s.Public) + `/\S+`,
					`   and paste the code that the last page shows:`,
					`4\. Token: for ` + m.scope + `, for 3(600|59\d) s`, // T-9: the user's own lives for an hour, from a moment before
					`5\. Call: ` + regexp.QuoteMeta(m.call) + ` -> 200`,
					`   \{"method":"` + method + `".*`,
					`6\. Call outside the scopes: ` + m.outside + ` -> 403 SCOPE_NOT_APPROVED: .+`,
					`7\. Revoke: done`,
					`8\. Call with the revoked token: ` + regexp.QuoteMeta(m.call) + ` -> 401 TOKEN_REVOKED: .+`,
				})
				reached(t, s, m)
				if info, err := os.Stat(state); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("the file with key and secret: %v, %v", info.Mode(), err)
				}

				again := walk(t, s, agent, args)
				if len(again) != len(lines) || !strings.Contains(again[1], "is registered as ath_") {
					t.Errorf("R-2: the second time it said\n%s", strings.Join(again, "\n"))
				}
			})
		}
	}
}

// walk runs an agent and plays its user.
func walk(t *testing.T, s *stage.Stage, agent language, args []string) []string {
	t.Helper()
	r := agent.start(t, args...)
	lines := r.until("and paste the code")
	b := browser.New()
	defer b.Close()
	page := s.Consent(b, strings.TrimSpace(lines[len(lines)-2]))
	code := athCode.FindString(page.Body)
	if code == "" {
		t.Fatalf("the last page (%d) shows no code: %s", page.Status, page.Text)
	}
	fmt.Fprintln(r.input, code)
	lines, stderr, err := r.end()
	if err != nil || stderr != "" {
		t.Fatalf("the agent ended with %v:\n%s\n%s", err, strings.Join(lines, "\n"), stderr)
	}
	return lines
}

func wantLines(t *testing.T, got, want []string) {
	t.Helper()
	for i, pattern := range want {
		if i >= len(got) || !regexp.MustCompile(`^`+pattern+`$`).MatchString(got[i]) {
			t.Fatalf("line %d is not %q:\n%s", i+1, pattern, strings.Join(got, "\n"))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d lines, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
}

// reached says that the API saw the one call that was allowed, with the user's
// own token and nothing of ours.
func reached(t *testing.T, s *stage.Stage, m mode) {
	t.Helper()
	saw := m.api.Bytes()
	if m.api.Hits() != 1 || !strings.HasPrefix(saw, m.line) {
		t.Errorf("the API saw %d requests, want one that starts with %q:\n%s", m.api.Hits(), m.line, saw)
	}
	found := bearer.FindAllStringSubmatch(saw, -1)
	if len(found) != 1 {
		t.Fatalf("P-5: the API saw %d Authorization headers:\n%s", len(found), saw)
	}
	token, _ := strings.CutPrefix(found[0][1], "Bearer ")
	if user, ok := s.OAuth.Whose(token); !ok || user != stage.UserID { // it may have ended with the agent
		t.Errorf("P-5: the API saw %q, which is not the user's token", found[0][1])
	}
	for _, part := range []string{"ath_tk_", "x-ath-"} {
		if strings.Contains(strings.ToLower(saw), part) {
			t.Errorf("P-5: the API saw %q:\n%s", part, saw)
		}
	}
}

// What goes wrong is told by code and message, and ends the agent.
func TestAgentsOfOtherLanguagesTellWhatWasRefused(t *testing.T) {
	agents := languages(t)
	s := stage.Start(t, stage.Options{Embedded: true, Mode: "gateway"})
	for _, agent := range agents {
		tests := map[string]struct {
			args []string
			want string
		}{
			"an identity that nobody can fetch": {[]string{"--agent-id", "http://127.0.0.1:1/agent.json", "--provider", stage.Provider},
				`^refused: 503 INTERNAL_ERROR: .+"reason": ?"identity_unreachable"`},
			"a provider that is not there": {[]string{"--provider", "nowhere"}, `offers gallery, not nowhere`},
		}
		for name, test := range tests {
			t.Run(agent.name+": "+name, func(t *testing.T) {
				args := append([]string{s.Public, "--scope", "pictures:read", "--call", "GET /pictures/7",
					"--port", freePort(t), "--state", filepath.Join(t.TempDir(), "state.json")}, test.args...)
				_, stderr, err := agent.start(t, args...).end()
				if err == nil || !regexp.MustCompile(test.want).MatchString(stderr) || strings.Contains(stderr, "Traceback") {
					t.Errorf("it ended with %v: %s", err, stderr)
				}
			})
		}
	}
}

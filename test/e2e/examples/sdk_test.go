package examples

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/stage"
)

// The ATH project's own SDK, as it comes from the registry, takes the whole
// walk with its users' page consent: what it sends is what athd must take.
// It passes over what it does not know: renewals, in discovery and in replies.
// proves: M-1, D-1, D-2, R-1, Z-1, Z-5, T-1, T-5, P-4, P-5, V-1, V-4
func TestThePythonSDKTakesTheWholeWalkUnchanged(t *testing.T) {
	dir := t.TempDir()
	script, err := os.ReadFile(filepath.Join("python-sdk", "agent.py"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "agent.py"), script, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	agent := language{"python-sdk", []string{client(t, "clients-sdk"), "agent.py"}, dir}
	for name, renewal := range map[string]string{"each token has its consent": "", "consents stand": "{max: 90d, idle: 30d}"} {
		t.Run(name, func(t *testing.T) { theSDKWalks(t, agent, stage.Start(t, stage.Options{Renewal: renewal})) })
	}
}

// theSDKWalks takes it through both modes.
func theSDKWalks(t *testing.T, agent language, s *stage.Stage) {
	for _, m := range []struct {
		name, offers string
		args         []string
		line         string
		api          *stage.Upstream
	}{
		{"gateway", "gallery offers pictures:read pictures:write", []string{"--provider", stage.Provider, "--scope", "pictures:read",
			"--call", "GET /pictures/7", "--outside", "POST /pictures"}, "GET /v1/pictures/7 HTTP/1.1\r\n", s.Gallery},
		{"native", "shop offers products:read cart:write orders:read", []string{"--scope", "products:read",
			"--call", "GET /api/products", "--outside", "POST /api/cart"}, "GET /api/products HTTP/1.1\r\n", s.App},
	} {
		t.Run(m.name, func(t *testing.T) {
			m.api.Forget()
			r := agent.start(t, append([]string{s.Public, "--mode", m.name}, m.args...)...)
			lines := r.until("and paste the code")
			b := browser.New()
			defer b.Close()
			page := s.Consent(b, lines[len(lines)-2])
			fmt.Fprintln(r.input, athCode.FindString(page.Body))
			lines, stderr, err := r.end()
			if err != nil || stderr != "" {
				t.Fatalf("the SDK ended with %v:\n%s\n%s", err, strings.Join(lines, "\n"), stderr)
			}
			scope := m.args[slices.Index(m.args, "--scope")+1]
			wantLines(t, lines, []string{
				`1\. discover: ` + m.offers,
				`2\. register: approved for ` + scope,
				`3\. authorize: open`, regexp.QuoteMeta(s.Public) + `/\S+`, `and paste the code`,
				`4\. token: for ` + scope,
				`5\. call: .*"method": ?"GET".*`,
				`6\. outside: 403 SCOPE_NOT_APPROVED`,
				`7\. revoked: 401 TOKEN_REVOKED`,
			})
			reached(t, s, mode{api: m.api, line: m.line})
		})
	}
}

package examples

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// added is the provider that the guide adds.
const added = "tracker"

// The guide's curl, typed as it stands there, adds a provider to an athd and an
// Envoy that were started without it; the TypeScript agent goes through it at
// once; and the guide's other commands change and remove it.
// proves: O-1, D-3
func TestAProviderOfTheGuideIsUsedAtOnce(t *testing.T) {
	agent := languages(t)[1]
	s := stage.Start(t, stage.Options{})
	api := stage.StartUpstream(t, nil)
	guide := readGuide(t, "https://login.example.com", s.Issuer, "https://api.tracker.example", api.URL, "http://localhost:8080", s.Public, "…", stage.Secret)

	args := func(more ...string) []string {
		return append([]string{s.Public, "--provider", added, "--scope", "issues:read", "--call", "GET /issues/7?full=1", "--outside", "POST /issues",
			"--port", freePort(t), "--state", filepath.Join(t.TempDir(), "state.json")}, more...)
	}
	unknown := func() {
		t.Helper()
		if _, stderr, err := agent.start(t, args()...).end(); err == nil || !strings.Contains(stderr, ", not "+added) {
			t.Errorf("where the provider is not there, the agent ended with %v: %s", err, stderr)
		}
	}
	unknown()
	guide.types(t, s.Dir, "curl -X POST", 201, "Provider tracker was added.")
	m := mode{call: "GET /issues/7?full=1", line: "GET /v2/issues/7?full=1 HTTP/1.1\r\n", api: api}
	lines := walk(t, s, agent, args())
	wantLines(t, lines, []string{
		`1\. Discover: tracker offers issues:read issues:write`,
		`2\. Register: approved as ath_\S+ for issues:read`,
		`3\. Authorize: let the user open`,
		`   ` + regexp.QuoteMeta(s.Public) + `/\S+`,
		`   and paste the code that the last page shows:`,
		`4\. Token: for issues:read, for 3(600|59\d) s`,
		`5\. Call: GET /issues/7\?full=1 -> 200`,
		`   \{"method":"GET".*`,
		`6\. Call outside the scopes: POST /issues -> 403 SCOPE_NOT_APPROVED: .+`,
		`7\. Revoke: done`,
		`8\. Call with the revoked token: GET /issues/7\?full=1 -> 401 TOKEN_REVOKED: .+`,
	})
	reached(t, s, m)

	guide.types(t, s.Dir, "curl -X PUT", 200, "Provider tracker was changed.")
	if lines := walk(t, s, agent, args()); !strings.Contains(lines[0], "tracker offers issues:read") || strings.Contains(lines[0], "issues:write") {
		t.Errorf("the changed provider is not what the agent finds: %s", lines[0])
	}
	guide.types(t, s.Dir, "curl -X DELETE", 202, "Provider tracker was removed:")
	unknown()
}

// A guide is what a reader types, with addresses of the test.
type guide []string

var shell = regexp.MustCompile("(?sm)^```sh\n(.*?)^```$")

func readGuide(t *testing.T, swap ...string) guide {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "guides", "add-a-provider.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all guide
	for _, m := range shell.FindAllStringSubmatch(string(text), -1) {
		all = append(all, strings.NewReplacer(swap...).Replace(m[1]))
	}
	return all
}

// types has a shell do the one block that begins so, with a curl that also
// prints the status, and looks at the answer.
func (g guide) types(t *testing.T, dir, begins string, want int, message string) {
	t.Helper()
	var block string
	for _, b := range g {
		if strings.HasPrefix(b, begins) {
			if block != "" {
				t.Fatalf("the guide has two blocks that begin with %q", begins)
			}
			block = b
		}
	}
	if block == "" {
		t.Fatalf("the guide has no block that begins with %q", begins)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "curl() { command curl --no-progress-meter -w '\\n%{http_code}' \"$@\"; }\n"+block)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", begins, err, out)
	}
	end := strings.LastIndex(string(out), "\n")
	body, code := string(out[:max(end, 0)]), string(out[end+1:])
	var reply struct {
		ID      string `json:"provider_id"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal([]byte(body), &reply); err != nil || reply.ID != added || !strings.HasPrefix(reply.Message, message) {
		t.Errorf("%s: answered with %q: %v", begins, body, err)
	}
	if code != strconv.Itoa(want) {
		t.Errorf("%s: status %s, want %d", begins, code, want)
	}
}

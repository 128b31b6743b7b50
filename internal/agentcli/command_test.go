package agentcli

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/internal/cli"
)

// runs is one run of athctl try, and its exit code.
func runs(t *testing.T, out *strings.Builder, args []string) int {
	t.Helper()
	terminal := cli.Terminal{Stdin: strings.NewReader(""), Stdout: out, Stderr: out, LookupEnv: func(string) (string, bool) { return "", false }}
	athctl := &cobra.Command{Use: "athctl"}
	athctl.AddCommand(New(terminal))
	return cli.Run(t.Context(), athctl, append([]string{"try"}, args...), terminal)
}

func TestAgentExitCodes(t *testing.T) {
	f := newStateFile(t)
	lost := []string{"--state", filepath.Join(t.TempDir(), "none.json")}
	held := []string{"--state", f.path}
	two := filepath.Join(t.TempDir(), "two.json")
	both := newState(t)
	both.Servers["https://other.example"] = &serverState{}
	if err := (&stateFile{path: two}).create(both, false); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want int
		says string
	}{
		{"agent wants a verb", nil, cli.ExitUsage, "usage:"},
		{"an unknown verb is a wrong usage", []string{"frobnicate"}, cli.ExitUsage, "no such command"},
		{"help is no fault", []string{"-h"}, cli.ExitOK, "athctl try run"},
		{"help of a verb is no fault", []string{"run", "-h"}, cli.ExitOK, "--consent-with"},
		{"an unknown flag is a wrong usage", []string{"status", "--frobnicate"}, cli.ExitUsage, "frobnicate"},
		{"an argument too many is a wrong usage", []string{"status", "x"}, cli.ExitUsage, "unexpected argument"},
		{"an output that is none is a wrong usage", []string{"status", "-o", "yaml"}, cli.ExitUsage, "text or json"},
		{"an admin token is not an agent's", []string{"status", "--token-file", "x"}, cli.ExitUsage, "token-file"},
		{"keygen wants an agent id", append([]string{"keygen"}, lost...), cli.ExitUsage, "--agent-id"},
		{"keygen wants one that is a URL", append([]string{"keygen", "--agent-id", "agent"}, lost...), cli.ExitUsage, "absolute https URL"},
		{"keygen wants no http from elsewhere", append([]string{"keygen", "--agent-id", "http://agent.example/a.json"}, lost...), cli.ExitUsage, "--allow-http"},
		{"keygen never overwrites", append([]string{"keygen", "--agent-id", "https://other.example/a.json"}, held...), cli.ExitFault, "--force"},
		{"identity prints or serves", append([]string{"identity", "-o", "x", "--serve", "127.0.0.1:0"}, held...), cli.ExitUsage, "both given"},
		{"a lost state", append([]string{"status"}, lost...), cli.ExitFault, "athctl try keygen"},
		{"no server", append([]string{"status"}, "--state", two), cli.ExitUsage, "which server"},
		{"a server without TLS elsewhere", append([]string{"status", "--server", "http://gw.example"}, held...), cli.ExitFault, "the agent's secrets would be readable"},
		{"a server where it is not registered", append([]string{"status", "--server", "https://nobody.example"}, held...), cli.ExitFault, "athctl try register"},
		{"register wants a provider and a scope", append([]string{"register", "--provider", "shop"}, held...), cli.ExitUsage, "--scope SCOPE"},
		{"a redirect URI has no fragment", append([]string{"register", "--redirect-uri", "https://a.example/#x"}, held...), cli.ExitUsage, "without a fragment"},
		{"nobody would listen", append([]string{"authorize", "--provider", "shop", "--scope", "x", "--no-wait"}, held...), cli.ExitUsage, "nobody would listen"},
		{"nobody waits longer than a session lives", append([]string{"authorize", "--provider", "shop", "--scope", "x", "--timeout", "11m"}, held...), cli.ExitUsage, "no session lives longer"},
		{"a yes to nothing", append([]string{"call", "--yes", "GET", "/"}, held...), cli.ExitUsage, "--yes goes with --ask"},
		{"nobody waits for the user", append([]string{"call", "--ask", "--wait", "0", "GET", "/"}, held...), cli.ExitUsage, "--ask waits for the user"},
		{"no link lives longer", append([]string{"call", "--wait", "11m", "GET", "/"}, held...), cli.ExitUsage, "no link lives longer"},
		{"standard input is read once", append([]string{"call", "--ask", "-d", "@-", "POST", "/"}, held...), cli.ExitUsage, "standard input is the body"},
		{"a token without a renewal", append([]string{"renew"}, held...), cli.ExitFault, "has no renewal"},
		{"a mode that is none", append([]string{"authorize", "--provider", "shop", "--scope", "x", "--mode", "magic"}, held...), cli.ExitUsage, "auto, native or gateway"},
		{"call wants a method and a path", append([]string{"call", "GET"}, held...), cli.ExitUsage, "METHOD and PATH"},
		{"call sends the token itself", append([]string{"call", "-H", "Authorization: x", "GET", "/"}, held...), cli.ExitUsage, "athctl's to send"},
		{"a provider without a token", append([]string{"call", "--provider", "nobody", "GET", "/"}, held...), cli.ExitFault, "no token for nobody"},
		{"no session of that provider", append([]string{"token", "--provider", "nobody"}, held...), cli.ExitFault, "no authorization is in flight"},
		{"a code that is none", append([]string{"token", "--code", "hello"}, held...), cli.ExitFault, "neither a code"},
		{"run wants a call", append([]string{"run"}, held...), cli.ExitUsage, "--call 'GET"},
		{"run wants one with a path", append([]string{"run", "--call", "GET products"}, held...), cli.ExitUsage, "METHOD PATH"},
		{"run is one agent's", append([]string{"run", "--call", "GET /", "--agent-id", "https://other.example/"}, held...), cli.ExitFault, "another --state"},
		{"who is served elsewhere says where", append([]string{"run", "--call", "GET /", "--serve", "0.0.0.0:0"}, lost...), cli.ExitFault, "--agent-id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			code := runs(t, &out, c.args)
			if code != c.want || !strings.Contains(out.String(), c.says) || strings.Contains(out.String(), "hush") {
				t.Errorf("exit code %d, want %d, and %q\n%s", code, c.want, c.says, &out)
			}
		})
	}
	if _, err := os.Stat(lost[1]); err == nil {
		t.Error("a command that failed has made a state")
	}
}

// Whoever redirects an agent does not get what it sends.
func TestAgentFollowsNoRedirect(t *testing.T) {
	got := 0
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got++ }))
	defer thief.Close()
	server := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	f := newStateFile(t)
	if err := f.update(func(s *savedState) error {
		at := s.Servers["https://gw.example"]
		at.Tokens["shop"] = heldToken{Access: api.NewSecret("ath_tk_hush"), API: server.URL}
		at.Sessions[0].API = server.URL
		s.Servers = map[string]*serverState{server.URL: at}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"discover"}, {"register", "--provider", "shop", "--scope", "x"}, {"authorize", "--provider", "shop", "--scope", "x"},
		{"token"}, {"call", "GET", "/"}, {"revoke"}, {"status"},
	} {
		var out strings.Builder
		code := runs(t, &out, append(args, "--state", f.path))
		if code != cli.ExitFault || strings.Contains(out.String(), "hush") {
			t.Errorf("%q: exit code %d\n%s", args, code, &out)
		}
	}
	if got != 0 {
		t.Errorf("%d requests went on to where they were led", got)
	}
}

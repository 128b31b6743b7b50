package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAgentExitCodes(t *testing.T) {
	f := newStateFile(t)
	lost := []string{"-state", filepath.Join(t.TempDir(), "none.json")}
	held := []string{"-state", f.path}
	two := filepath.Join(t.TempDir(), "two.json")
	both := newState(t)
	both.Servers["https://other.example"] = &agentServer{}
	if err := (&stateFile{path: two}).create(both, false); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want int
		says string
	}{
		{"agent wants a verb", nil, exitUsage, "usage:"},
		{"an unknown verb is a wrong usage", []string{"frobnicate"}, exitUsage, "no such command"},
		{"help is no fault", []string{"-h"}, exitOK, "athctl agent run"},
		{"help of a verb is no fault", []string{"run", "-h"}, exitOK, "-consent-with"},
		{"an unknown flag is a wrong usage", []string{"status", "-frobnicate"}, exitUsage, "frobnicate"},
		{"an argument too many is a wrong usage", []string{"status", "x"}, exitUsage, "unexpected argument"},
		{"an output that is none is a wrong usage", []string{"status", "-o", "yaml"}, exitUsage, "text or json"},
		{"an admin token is not an agent's", []string{"status", "-token-file", "x"}, exitUsage, "token-file"},
		{"keygen wants an agent id", append([]string{"keygen"}, lost...), exitUsage, "-agent-id"},
		{"keygen wants one that is a URL", append([]string{"keygen", "-agent-id", "agent"}, lost...), exitUsage, "absolute https URL"},
		{"keygen wants no http from elsewhere", append([]string{"keygen", "-agent-id", "http://agent.example/a.json"}, lost...), exitUsage, "-allow-http"},
		{"keygen never overwrites", append([]string{"keygen", "-agent-id", "https://other.example/a.json"}, held...), exitFault, "-force"},
		{"identity prints or serves", append([]string{"identity", "-o", "x", "-serve", "127.0.0.1:0"}, held...), exitUsage, "both given"},
		{"a lost state", append([]string{"status"}, lost...), exitFault, "athctl agent keygen"},
		{"no server", append([]string{"status"}, "-state", two), exitUsage, "which server"},
		{"a server without TLS elsewhere", append([]string{"status", "-server", "http://gw.example"}, held...), exitFault, "the agent's secrets would be readable"},
		{"a server where it is not registered", append([]string{"status", "-server", "https://nobody.example"}, held...), exitFault, "athctl agent register"},
		{"register wants a provider and a scope", append([]string{"register", "-provider", "shop"}, held...), exitUsage, "-scope SCOPE"},
		{"a redirect URI has no fragment", append([]string{"register", "-redirect-uri", "https://a.example/#x"}, held...), exitUsage, "without a fragment"},
		{"nobody would listen", append([]string{"authorize", "-provider", "shop", "-scope", "x", "-no-wait"}, held...), exitUsage, "nobody would listen"},
		{"nobody waits longer than a session lives", append([]string{"authorize", "-provider", "shop", "-scope", "x", "-timeout", "11m"}, held...), exitUsage, "no session lives longer"},
		{"a mode that is none", append([]string{"authorize", "-provider", "shop", "-scope", "x", "-mode", "magic"}, held...), exitUsage, "auto, native or gateway"},
		{"call wants a method and a path", append([]string{"call", "GET"}, held...), exitUsage, "METHOD and PATH"},
		{"call sends the token itself", append([]string{"call", "-H", "Authorization: x", "GET", "/"}, held...), exitUsage, "athctl's to send"},
		{"a provider without a token", append([]string{"call", "-provider", "nobody", "GET", "/"}, held...), exitFault, "no token for nobody"},
		{"no session of that provider", append([]string{"token", "-provider", "nobody"}, held...), exitFault, "no authorization is in flight"},
		{"a code that is none", append([]string{"token", "-code", "hello"}, held...), exitFault, "neither a code"},
		{"run wants a call", append([]string{"run"}, held...), exitUsage, "-call 'GET"},
		{"run wants one with a path", append([]string{"run", "-call", "GET products"}, held...), exitUsage, "METHOD PATH"},
		{"run is one agent's", append([]string{"run", "-call", "GET /", "-agent-id", "https://other.example/"}, held...), exitFault, "another -state"},
		{"who is served elsewhere says where", append([]string{"run", "-call", "GET /", "-serve", "0.0.0.0:0"}, lost...), exitFault, "-agent-id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			code := run(t.Context(), append([]string{"agent"}, c.args...), terminal{&out, &out, func(string) string { return "" }, strings.NewReader("")})
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
	if err := f.update(func(s *agentState) error {
		at := s.Servers["https://gw.example"]
		at.Tokens["shop"] = agentToken{Access: keep("ath_tk_hush"), API: server.URL}
		at.Sessions[0].API = server.URL
		s.Servers = map[string]*agentServer{server.URL: at}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"discover"}, {"register", "-provider", "shop", "-scope", "x"}, {"authorize", "-provider", "shop", "-scope", "x"},
		{"token"}, {"call", "GET", "/"}, {"revoke"}, {"status"},
	} {
		var out strings.Builder
		code := run(t.Context(), append(append([]string{"agent"}, args...), "-state", f.path), terminal{&out, &out, func(string) string { return "" }, strings.NewReader("")})
		if code != exitFault || strings.Contains(out.String(), "hush") {
			t.Errorf("%q: exit code %d\n%s", args, code, &out)
		}
	}
	if got != 0 {
		t.Errorf("%d requests went on to where they were led", got)
	}
}

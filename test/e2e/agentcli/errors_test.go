package agentcli

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

var athCode = regexp.MustCompile(`ath_code_[\w-]+`)

func codeOn(t *testing.T, body string) string {
	t.Helper()
	code := athCode.FindString(body)
	if code == "" {
		t.Fatalf("no code on the page: %s", body)
	}
	return code
}

// A told is the object that a refused command prints.
type told struct {
	Error struct {
		Code, Message, Next string
		Status              int
		Details             map[string]any
	}
}

// Each refusal is told with its code and with what to do next, to people and
// to programs, and the exit code is 1.
func TestAgentCLINamesCauseAndFix(t *testing.T) {
	s := stage.Start(t, stage.Options{})
	register := []string{"register", "--provider", stage.App, "--scope", "products:read"}
	authorize := []string{"authorize", "--provider", stage.App, "--scope", "products:read", "--redirect", "paste", "--no-wait"}
	call := []string{"call", "GET", "/api/products"}
	for _, c := range []struct {
		name, code, next string
		prepare          func(t *testing.T) *author
		args             []string
	}{
		{"nobody publishes the document", "INTERNAL_ERROR", "athctl try identity --serve", func(t *testing.T) *author {
			a := newAuthor(t, s)
			a.must("keygen", "--agent-id", "http://127.0.0.1:1/agent.json")
			return a
		}, register},
		{"another key is published", "INVALID_ATTESTATION", "publish the document of the key you sign with", func(t *testing.T) *author {
			a := comes(t, s)
			a.must("keygen", "--agent-id", a.agentID(), "--force")
			return a
		}, register},
		{"A-3: the server by another name", "INVALID_ATTESTATION", "the server wants aud to be " + s.Public + " or ", func(t *testing.T) *author {
			a := comes(t, s)
			a.server = strings.Replace(s.Public, "127.0.0.1", "localhost", 1)
			return a
		}, register},
		{"a redirect URI that was not registered", "INVALID_ATTESTATION", "register that URI first", func(t *testing.T) *author {
			return authorized(t, s, stage.App, "products:read")
		}, []string{"authorize", "--provider", stage.App, "--scope", "products:read", "--redirect", "https://elsewhere.example/", "--no-wait"}},
		{"registered already", "CONFLICT", "its client_id is ath_", func(t *testing.T) *author {
			return authorized(t, s, stage.App, "products:read")
		}, register},
		{"an operator has removed it", "AGENT_NOT_REGISTERED", "athctl try register --replace", func(t *testing.T) *author {
			a := authorized(t, s, stage.App, "products:read")
			a.operator("DELETE", "")
			return a
		}, authorize},
		{"an operator has suspended it", "AGENT_UNAPPROVED", "it is suspended; ask the operator", func(t *testing.T) *author {
			a := authorized(t, s, stage.App, "products:read")
			a.operator("POST", "/suspend")
			return a
		}, authorize},
		{"a suspended agent's call", "TOKEN_REVOKED", "authorize again", func(t *testing.T) *author {
			a := authorized(t, s, stage.App, "products:read")
			a.operator("POST", "/suspend")
			return a
		}, call},
		{"another provider", "PROVIDER_NOT_APPROVED", "athctl try discover", func(t *testing.T) *author {
			return authorized(t, s, stage.App, "products:read")
		}, []string{"authorize", "--provider", stage.Provider, "--scope", "pictures:read", "--redirect", "paste", "--no-wait"}},
		{"another scope", "SCOPE_NOT_APPROVED", "not approved: cart:write; ", func(t *testing.T) *author {
			return authorized(t, s, stage.App, "products:read")
		}, []string{"authorize", "--provider", stage.App, "--scope", "products:read,cart:write", "--redirect", "paste", "--no-wait"}},
		{"a call outside the scopes", "SCOPE_NOT_APPROVED", "athctl explain", func(t *testing.T) *author {
			return authorized(t, s, stage.App, "products:read")
		}, []string{"call", "DELETE", "/api/products"}},
		{"a wrong code", "SESSION_NOT_FOUND", "send the code that", func(t *testing.T) *author {
			a := authorized(t, s, stage.App, "products:read")
			a.must(authorize...)
			return a
		}, []string{"token", "--code", "ath_code_wrong"}},
		{"a wrong secret", "AGENT_NOT_REGISTERED", "with a lost secret", func(t *testing.T) *author {
			a := authorized(t, s, stage.App, "products:read")
			a.edits(a.at()["client_secret"].(string), "ath_secret_wrong")
			return a
		}, []string{"revoke"}},
		{"another's registration", "NOT_FOUND", "check server and path", func(t *testing.T) *author {
			a := authorized(t, s, stage.App, "products:read")
			a.edits(a.at()["client_secret"].(string), "ath_secret_wrong")
			return a
		}, []string{"status"}},
		{"a token that is none", "TOKEN_INVALID", "authorize again", func(t *testing.T) *author {
			a := authorized(t, s, stage.App, "products:read")
			a.edits(`"access_token": "ath_tk_`, `"access_token": "ath_tkk_`)
			return a
		}, call},
		{"a token of another provider", "PROVIDER_MISMATCH", "use a token of that provider", func(t *testing.T) *author {
			return authorized(t, s, stage.App, "products:read")
		}, []string{"call", "GET", "/ath/proxy/gallery/pictures/1"}},
		{"no such provider", "PROVIDER_MISMATCH", "use a token of that provider", func(t *testing.T) *author {
			return authorized(t, s, stage.App, "products:read")
		}, []string{"call", "GET", "/ath/proxy/nobody/pictures/1"}},
		{"a path that could be read in two ways", "INVALID_REQUEST", "send paths without", func(t *testing.T) *author {
			return authorized(t, s, stage.App, "products:read")
		}, []string{"call", "GET", "/api/products;x=1"}},
		{"something that is not athd", "", "check that --server is athd's public URL", func(t *testing.T) *author {
			other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) }))
			t.Cleanup(other.Close)
			a := comes(t, s)
			a.server = other.URL
			return a
		}, register},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := c.prepare(t)
			people := a.types("", c.args...)
			if people.code != 1 || !strings.Contains(people.stderr, "athctl: "+c.code) || !strings.Contains(people.stderr, "\nnext: ") || !strings.Contains(people.stderr, c.next) {
				t.Errorf("for people: exit code %d\n%s", people.code, people.stderr)
			}
			if c.args[0] == "call" {
				return // it prints the reply, whatever it is
			}
			programs := a.types("", append(c.args, "-o", "json")...)
			var e told
			decode(t, programs.stdout, &e)
			if programs.code != 1 || e.Error.Code != c.code || e.Error.Status < 400 || !strings.Contains(e.Error.Next, c.next) {
				t.Errorf("for programs: exit code %d\n%s", programs.code, programs.stdout)
			}
			if c.code != "" && e.Error.Details["decision_id"] == nil {
				t.Errorf("E-2: no decision_id: %s", programs.stdout)
			}
		})
	}
	t.Run("the user says no", func(t *testing.T) {
		a := comes(t, s)
		a.must(register...)
		_, second, r := a.asksUser(stage.App, "products:read", false)
		if r.code != 1 || !strings.Contains(r.stderr, "the user did not allow it") || second["error"] == nil {
			t.Errorf("exit code %d, %v\n%s", r.code, second, r.stderr)
		}
		if again := a.types("", "token"); again.code != 1 || !strings.Contains(again.stderr, "no authorization is in flight") {
			t.Errorf("afterwards: exit code %d, %s", again.code, again.stderr)
		}
	})
	t.Run("--replace is the way out of a lost state", func(t *testing.T) {
		a := authorized(t, s, stage.App, "products:read")
		a.edits(a.at()["client_secret"].(string), "ath_secret_wrong")
		before := a.at()["client_id"]
		a.must("register", "--provider", stage.App, "--scope", "products:read", "--replace")
		if a.at()["client_id"] == before || a.at()["tokens"] != nil {
			t.Errorf("R-7: the old registration is still in the state")
		}
		a.must("status")
	})
	late := authorized(t, s, stage.App, "products:read")
	t.Run("the store is away", func(t *testing.T) { // it does not come back
		a := authorized(t, s, stage.App, "products:read")
		s.Redis.Kill()
		for _, args := range [][]string{call, {"status"}} {
			if r := a.types("", args...); r.code != 1 || !strings.Contains(r.stderr, "athctl: INTERNAL_ERROR (503)") || !strings.Contains(r.stderr, "\nnext: try again in 1 s") {
				t.Errorf("%q: exit code %d\n%s", args, r.code, r.stderr)
			}
		}
	})
	t.Run("athd is away", func(t *testing.T) { // F-29: Envoy says so, and nobody blames the store
		a := late
		s.Athd.Kill()
		for _, args := range [][]string{call, {"status"}} {
			if r := a.types("", args...); r.code != 1 || !strings.Contains(r.stderr, "(athd) cannot be reached") || !strings.Contains(r.stderr, "\nnext: it is Envoy that answers, since athd is away") {
				t.Errorf("%q: exit code %d\n%s", args, r.code, r.stderr)
			}
		}
		cmd := a.command(t.Context(), "list", "--token-file", s.Dir+"/admin.token")
		cmd.Args[1] = "agents"
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "\nnext: it is Envoy that answers, since athd is away") || strings.Contains(string(out), "store") {
			t.Errorf("an operator's command: %v\n%s", err, out)
		}
	})
	t.Run("nothing runs there", func(t *testing.T) {
		a := authorizedNowhere(t, s)
		if r := a.types("", register...); r.code != 1 || !strings.Contains(r.stderr, "cannot be asked") || !strings.Contains(r.stderr, "\nnext: check --server") {
			t.Errorf("exit code %d\n%s", r.code, r.stderr)
		}
	})
}

func authorizedNowhere(t *testing.T, s *stage.Stage) *author {
	t.Helper()
	a := newAuthor(t, s)
	a.must("keygen", "--agent-id", "https://agent.example/agent.json")
	a.server = "http://127.0.0.1:1"
	return a
}

// operator does something to the author's agent.
func (a *author) operator(method, verb string) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.s.Public+"/ath/admin/agents/"+a.at()["client_id"].(string)+verb, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("X-ATH-User-Token", stage.AdminKey)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		a.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		a.t.Fatalf("the operator's %s %s: %d", method, verb, resp.StatusCode)
	}
}

package agentcli

import (
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
)

// A report is what athctl try run -o json prints.
type report struct {
	OK       bool   `json:"ok"`
	Server   string `json:"server"`
	AgentID  string `json:"agent_id"`
	Provider string `json:"provider_id"`
	API      string `json:"api"`
	Steps    []struct {
		Step      string `json:"step"`
		OK        bool   `json:"ok"`
		Exchanges []struct {
			Method, URL, Code string
			Status            int
		} `json:"exchanges"`
		Checks []struct {
			OK        bool
			Want, Got string
		} `json:"checks"`
		Error *struct{ Code, Message, Next string } `json:"error"`
	} `json:"steps"`
}

func steps(r report) string {
	var names []string
	for _, s := range r.Steps {
		names = append(names, s.Step)
	}
	return strings.Join(names, " ")
}

const allSteps = "discover register authorize consent token call call_outside revoke call_revoked"

const user = stage.User + ":" + stage.Password

// The whole walk in every mode and with every way back.
// proves: M-1
func TestWholeWalk(t *testing.T) {
	s := stage.Start(t, stage.Options{})
	for _, c := range []struct {
		name, provider, call, api, arrives string
		more                               []string
		upstream                           *stage.Upstream
	}{
		{"native", stage.App, "GET /api/products", s.Public, "GET /api/products HTTP/1.1", nil, s.App},
		{"native as default, pasted", "default", "GET /api/products", s.Public, "GET /api/products HTTP/1.1", []string{"--redirect", "paste"}, s.App},
		{"native below the gateway's path", stage.App, "GET /api/products/7", s.Public + "/ath/proxy/shop", "GET /api/products/7 HTTP/1.1", []string{"--mode", "gateway"}, s.App},
		{"gateway", stage.Provider, "GET /pictures/7", s.Public + "/ath/proxy/gallery", "GET /v1/pictures/7 HTTP/1.1", []string{"--outside", "POST /pictures", "--scope", "pictures:read"}, s.Gallery},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.upstream.Forget()
			a := newAuthor(t, s)
			out := a.must(append([]string{"run", "-o", "json", "--serve", reserve.Addr(t), "--provider", c.provider, "--call", c.call, "--consent-with", user}, c.more...)...)
			var r report
			decode(t, out, &r)
			if !r.OK || steps(r) != allSteps || r.Provider != c.provider || r.API != c.api || r.Server != s.Public || r.AgentID != a.agentID() {
				t.Errorf("report: %s", out)
			}
			for _, step := range r.Steps {
				for _, check := range step.Checks {
					if !check.OK {
						t.Errorf("%s: %s", step.Step, check.Want)
					}
				}
				if !step.OK || len(step.Exchanges) == 0 && step.Step != "consent" {
					t.Errorf("step %s: %+v", step.Step, step)
				}
			}
			if got := r.Steps[6].Exchanges[0]; got.Status != 403 || got.Code != "SCOPE_NOT_APPROVED" {
				t.Errorf("P-4: outside the scopes: %+v", got)
			}
			if got := r.Steps[8].Exchanges[0]; got.Status != 401 || got.Code != "TOKEN_REVOKED" {
				t.Errorf("V-4: after revocation: %+v", got)
			}
			if hits := c.upstream.Hits(); hits != 1 || !strings.HasPrefix(c.upstream.Bytes(), c.arrives) {
				t.Errorf("the API saw %d requests:\n%s", hits, c.upstream.Bytes())
			}
			noSecrets(t, a, out)

			// Once more: it goes on with the registration that it has, where it was.
			again := a.must(append([]string{"run", "-v", "--serve", "127.0.0.1:0",
				"--provider", c.provider, "--call", c.call, "--consent-with", user}, c.more...)...)
			for _, want := range []string{"1. Discover", "✓ R-2: the agent is registered already", "9. Call again", "checks held."} {
				if !strings.Contains(again, want) {
					t.Errorf("for people it does not say %q:\n%s", want, again)
				}
			}
			noSecrets(t, a, again)
		})
	}
}

// noSecrets wants nothing of the state's secrets in an output.
func noSecrets(t *testing.T, a *author, out string) {
	t.Helper()
	found := 0
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, item := range v {
				if text, is := item.(string); is && (name == "client_secret" || name == "access_token" || name == "refresh_token" || name == "ath_session_id" || name == "private_key") {
					found++
					if strings.Contains(out, text) {
						t.Errorf("%s is printed", name)
					}
				}
				look(item)
			}
		case []any:
			for _, item := range v {
				look(item)
			}
		}
	}
	look(a.state())
	if found < 3 {
		t.Errorf("only %d secrets were looked for", found)
	}
}

// A walk that does not go as it must says where, and fails.
func TestWalkThatFails(t *testing.T) {
	s := stage.Start(t, stage.Options{Embedded: true, Approval: "  default: review"})
	for _, c := range []struct {
		name, steps, want, next string
		args                    []string
	}{
		{"it waits for the operator", "discover register", "the agent is pending", "athctl agents approve", []string{"--provider", stage.App}},
		{"no such provider", "discover", "the server offers no provider nobody, but: shop, gallery", "--provider ID", []string{"--provider", "nobody"}},
		{"several providers and none named", "discover", "which provider? There are: shop, gallery", "--provider ID", nil},
		{"an app that is none", "discover", "gallery is no app", "athctl try discover", []string{"--provider", stage.Provider, "--mode", "native"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthor(t, s)
			r := a.types("", append([]string{"run", "-o", "json", "--serve", "127.0.0.1:0", "--call", "GET /x", "--consent-with", user}, c.args...)...)
			var told report
			decode(t, r.stdout, &told)
			last := told.Steps[len(told.Steps)-1]
			if r.code != 1 || told.OK || steps(told) != c.steps || last.OK || last.Error == nil ||
				!strings.Contains(last.Error.Message, c.want) || !strings.Contains(last.Error.Next, c.next) {
				t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			people := a.types("", append([]string{"run", "--call", "GET /x", "--consent-with", user}, c.args...)...)
			if people.code != 1 || !strings.Contains(people.stderr, c.want) || !strings.Contains(people.stderr, "\nnext: ") {
				t.Errorf("for people: exit code %d\n%s", people.code, people.stderr)
			}
		})
	}
}

// A call that is not refused where it must be is no success.
func TestWalkWithTooWideACall(t *testing.T) {
	s := stage.Start(t, stage.Options{Embedded: true})
	a := newAuthor(t, s)
	r := a.types("", "run", "-o", "json", "--serve", "127.0.0.1:0", "--provider", stage.App, "--call", "GET /api/products", "--outside", "GET /api/products/1", "--consent-with", user)
	var told report
	decode(t, r.stdout, &told)
	if r.code != 1 || told.OK || steps(told) != allSteps || told.Steps[6].OK || !strings.HasPrefix(told.Steps[6].Checks[0].Got, "200") {
		t.Errorf("exit code %d\n%s", r.code, r.stdout)
	}
}

package authz

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

// Whatever a request is refused or allowed for, Explain says the same, and why
// at the rule that decided.
func TestExplainSaysWhatDecideDoes(t *testing.T) {
	ask := func(t *testing.T, s *stored, r Request) Explanation {
		t.Helper()
		var logs recorder
		d := newDecider(t, s, &logs)
		agent := ""
		if len(r.AgentID) == 1 {
			agent = r.AgentID[0]
		}
		e, err := d.Explain(t.Context(), Question{
			Token: ath.NewSecret(strings.TrimPrefix(r.Authorization[0], "Bearer ")), AgentID: agent,
			Method: r.Method, URL: "https://gw.example" + r.Path, Upgrade: strings.Join(r.Upgrade, ""),
		})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(logs.String(), `"msg":"audit"`) {
			t.Error("an explanation left an event, as if somebody had called")
		}
		return e
	}
	t.Run("allowed", func(t *testing.T) {
		s, r := good()
		e := ask(t, s, r)
		if !e.Decision.Allowed() || e.Place != "provider shop, mounted at /ath/proxy/shop/" {
			t.Errorf("%s at %q", e.Decision.Reason(), e.Place)
		}
		for _, step := range e.Steps {
			if step.Verdict != Holds {
				t.Errorf("%s: %s", step.Rule, step.Verdict)
			}
		}
		noToken(t, s, e)
	})
	for _, c := range refusals() {
		s, r := good()
		c.break_(s, &r)
		// What a question cannot say.
		if len(r.Authorization) != 1 || !strings.HasPrefix(r.Authorization[0], "Bearer ") || len(r.AgentID) != 1 || r.AgentID[0] == "" ||
			r.Provider != "shop" || r.Mount == "" || r.Blurred || r.StrayToken || r.Method == "" || len(r.Upgrade) > 1 || slices.Equal(r.Upgrade, []string{""}) || !strings.HasPrefix(r.Path, "/ath/proxy/shop/") {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			e := ask(t, s, r)
			if got := e.Decision.Reason(); got != c.reason {
				t.Fatalf("explained as %s, decided as %s", got, c.reason)
			}
			decided := false
			for _, step := range e.Steps {
				switch {
				case step.Verdict == Refuses:
					decided = true
					if step.Rule != c.rule {
						t.Errorf("%s refuses, want %s", step.Rule, c.rule)
					}
					if step.Found == "" {
						t.Errorf("%s does not say what it saw", step.Rule)
					}
				case (step.Verdict == NotAsked) != decided:
					t.Errorf("%s: %s", step.Rule, step.Verdict)
				}
			}
			if !decided {
				t.Error("no rule refuses")
			}
			noToken(t, s, e)
		})
	}
}

func noToken(t *testing.T, s *stored, e Explanation) {
	t.Helper()
	for _, step := range e.Steps {
		for _, secret := range []string{s.token.Secret().Reveal(), upstream} {
			if strings.Contains(fmt.Sprintf("%+v", step), secret) {
				t.Errorf("%s shows a token: %s", step.Rule, step.Found)
			}
		}
	}
}

func TestExplainNamesTheNearestRules(t *testing.T) {
	s, _ := good()
	d := newDecider(t, s, new(recorder))
	for _, tt := range []struct{ method, path, scope, lacks string }{
		{"POST", "/orders", "orders:write", "scope"},
		{"POST", "/products/7", "products:read", "method"},
		{"GET", "/productions", "products:read", "path"},
	} {
		e, err := d.Explain(t.Context(), Question{Token: s.token.Secret(), Method: tt.method, URL: "/ath/proxy/shop" + tt.path})
		if err != nil || e.Decision.Reason() != ScopeMissing || len(e.Nearest) == 0 {
			t.Fatalf("%s %s: %v, %s, %d rules near", tt.method, tt.path, err, e.Decision.Reason(), len(e.Nearest))
		}
		n := e.Nearest[0]
		lacks := map[string]bool{"scope": !n.Held, "method": !n.Method, "path": !n.Path}
		if n.Rule.Scope != tt.scope || !lacks[tt.lacks] {
			t.Errorf("%s %s: nearest is %+v, want %s for want of the right %s", tt.method, tt.path, n, tt.scope, tt.lacks)
		}
	}
}

func TestExplainTakesTheTokensOwnAgent(t *testing.T) {
	s, r := good()
	e, err := newDecider(t, s, new(recorder)).Explain(t.Context(), Question{Token: s.token.Secret(), Method: "GET", URL: "http://x" + r.Path})
	if err != nil || !e.Decision.Allowed() || e.Decision.Agent != agentID {
		t.Errorf("%v: %s, agent %q", err, e.Decision.Reason(), e.Decision.Agent)
	}
}

func TestExplainRefusesWhatIsNoQuestion(t *testing.T) {
	s, _ := good()
	d := newDecider(t, s, new(recorder))
	for _, tt := range []struct {
		method, url string
		want        error
	}{
		{"", "/x", ErrNoMethod},
		{"GET", "", ErrNoURL},
		{"GET", "x", ErrNoURL},
		{"GET", "ftp://h/x", ErrNoURL},
		{"GET", "http://", ErrNoURL},
		{"GET", "https://user@h/x", ErrNoURL},
	} {
		if _, err := d.Explain(t.Context(), Question{Method: tt.method, URL: tt.url}); !errors.Is(err, tt.want) {
			t.Errorf("%q %q: %v, want %v", tt.method, tt.url, err, tt.want)
		}
	}
}

func TestURLsAreCutAndNeverRepaired(t *testing.T) {
	for _, tt := range []struct{ url, host, target string }{
		{"https://h/a%2fb/../c?x=1#frag", "h", "/a%2fb/../c?x=1"},
		{"HTTP://h:80", "h:80", "/"},
		{"http://h?x", "h", "/?x"},
		{"/a//b", "", "/a//b"},
	} {
		if host, target, ok := cutURL(tt.url); !ok || host != tt.host || target != tt.target {
			t.Errorf("%s: %q %q %v", tt.url, host, target, ok)
		}
	}
}

package walk

import (
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// However an app's hosts are written, athd.yaml, Envoy and explain mean the same
// by them.
// F-25
// proves: M-1
func TestAppsHostsAreOneThing(t *testing.T) {
	s := stage.Start(t, stage.Options{AppMore: `  hosts: ["App.Example.", "ported.example:0443", "[0:0::2]:8080", "XN--MNCHEN-3YA.example", "127.0.0.9."]` + "\n"})
	c := s.NewAgent("one")
	token := s.Token(c, stage.App, "products:read")
	for _, tt := range []struct {
		host string
		app  bool
	}{
		{"app.example", true}, {"APP.example", true}, {"app.example.", true}, {"App.Example.:8080", true}, {"app.example:0443", true},
		{"app.example..", false}, {"xapp.example", false}, {"app.example.x", false}, {"x.app.example", false},
		{"ported.example", true}, {"ported.example:1", true},
		{"[::2]", true}, {"[::2]:443", true}, {"[::3]", false}, {"[0:0::2]", false},
		{"xn--mnchen-3ya.example", true}, {"xn--mnchen-3ya.EXAMPLE:80", true},
		{"127.0.0.9", true}, {"127.9", false},
		{s.Host(), false},
	} {
		t.Run(tt.host, func(t *testing.T) {
			status, verdict := 404, "refuse"
			if tt.app {
				status, verdict = 200, "allow"
			}
			const target = "/api/products"
			lines := request(s, "GET", target, token.Access.Reveal(), c.Agent().ID(), "Connection: close")
			lines[1] = "Host: " + tt.host
			if r := raw(t, s, lines...); r.status != status {
				t.Errorf("Envoy: %d %s, want %d", r.status, r.body, status)
			}
			e, text := explain(t, s, token.Access.Reveal(), c.Agent().ID(), "GET", "http://"+tt.host+target)
			if e.Verdict != verdict {
				t.Errorf("explained as %s", text)
			}
		})
	}
}

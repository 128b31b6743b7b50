package pages

import (
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/test/stage"
)

// The domain that the user reads is the one that was checked, letter by
// letter: what could be read as another one does not get this far, or is shown
// in a form that nobody takes for it.
// S-4
func TestDomainIsShownAsItWasChecked(t *testing.T) {
	t.Parallel()
	s := start(t, stage.Options{AppMore: "  skip_attestation_verification: true\n"}) // the test is in no DNS
	for name, host := range map[string]string{
		"Cyrillic letters that look like Latin ones": "xn--80ak6aa92e.com",
		"letters of another language":                "xn--mnchen-3ya.example",
		"plain":                                      "agents.paypal.example",
	} {
		t.Run("R-3, Z-5: "+name, func(t *testing.T) {
			a := newAgent(t, s)
			a.ID = "https://" + host + "/agent.json"
			b := newBrowser(t)
			b.open(a.authorize(stage.App, "products:read").url)
			b.await(allowHere)
			if got := strings.TrimSpace(b.text("#domain")); got != host {
				t.Errorf("the page shows %q", got)
			}
			if got := b.text("#agent-id"); got != a.ID {
				t.Errorf("the page shows the identity %q", got)
			}
			if body := b.text("main"); strings.Contains(body, "аррӏе") || strings.Contains(body, "münchen") {
				t.Errorf("the page shows the name decoded: %s", body)
			}
		})
	}
	for name, host := range map[string]string{
		"a capital i for an l": "agents.paypaI.com", "capitals": "Agents.example.com", "a trailing dot": "agents.example.com.",
		"a default port": "agents.example.com:443", "zeros before a port": "agents.example.com:08443", "not as A-labels": "аррӏе.com",
	} {
		t.Run("R-3: "+name, func(t *testing.T) {
			a := newAgent(t, s)
			a.ID = "https://" + host + "/agent.json"
			if status, r := a.register(stage.App, "products:read"); status != http.StatusBadRequest || r.Code != "INVALID_REQUEST" {
				t.Errorf("register: %d %s", status, r.Code)
			}
		})
	}
}

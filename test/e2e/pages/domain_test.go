package pages

import (
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// The domain that the user reads is the one that was checked, letter by
// letter: what could be read as another one does not get this far, or is shown
// in a form that nobody takes for it.
// S-4
func TestDomainIsShownAsItWasChecked(t *testing.T) {
	t.Parallel()
	s := start(t, stage.Options{AppMore: "  skip_attestation_verification: true\n"}) // the test is in no DNS
	// The largest text is the name that was checked, in its ASCII form. Its own
	// letters stand below, as that, with a warning where they imitate others.
	for name, c := range map[string]struct{ host, letters, warning string }{
		"Cyrillic letters that look like Latin ones": {"xn--80ak6aa92e.com", "аррӏе.com", "It may imitate another one."},
		"letters of another language":                {"xn--mnchen-3ya.example", "münchen.example", ""},
		"plain":                                      {"agents.paypal.example", "", ""},
	} {
		host := c.host
		t.Run("R-3, Z-5: "+name, func(t *testing.T) {
			a := newAgent(t, s)
			a.claims = "https://" + host + "/agent.json"
			b := newBrowser(t)
			b.open(a.authorize(stage.App, "products:read").url)
			b.await(allowHere)
			if got := strings.TrimSpace(b.text("#domain")); got != host {
				t.Errorf("the page shows %q", got)
			}
			if got := b.text("#agent-id"); got != a.claims {
				t.Errorf("the page shows the identity %q", got)
			}
			body := b.text("main")
			if letters := "In its own letters: " + c.letters; strings.Contains(body, "In its own letters") != (c.letters != "") || c.letters != "" && !strings.Contains(body, letters) {
				t.Errorf("the page does not show the letters %q as that: %s", c.letters, body)
			}
			if strings.Contains(body, "imitate") != (c.warning != "") || !strings.Contains(body, c.warning) {
				t.Errorf("the page's warning is not %q: %s", c.warning, body)
			}
		})
	}
	for name, host := range map[string]string{
		"a capital i for an l": "agents.paypaI.com", "capitals": "Agents.example.com", "a trailing dot": "agents.example.com.",
		"a default port": "agents.example.com:443", "zeros before a port": "agents.example.com:08443", "not as A-labels": "аррӏе.com",
	} {
		t.Run("R-3: "+name, func(t *testing.T) {
			a := newAgent(t, s)
			a.claims = "https://" + host + "/agent.json"
			if status, r := a.register(stage.App, "products:read"); status != http.StatusBadRequest || r.Code != "INVALID_REQUEST" {
				t.Errorf("register: %d %s", status, r.Code)
			}
		})
	}
}

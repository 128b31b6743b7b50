package pages

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// proves: T-8
func TestUsersReadHowLongAConsentStandsAndWhomToAsk(t *testing.T) {
	t.Parallel()
	const month = "Until you end it, 90 days at most. After 30 days without use it ends by itself."
	s := start(t, stage.Options{
		Refreshable: true, Renewal: "{max: 90d, idle: 30d}", AppMore: "  renewal: {max: 7d}\n",
		Extra: `operator: {name: "<b>Example</b> & Partners, IT", contact: help@example.com}`,
	})

	t.Run("the provider's terms, and who runs it", func(t *testing.T) {
		a := newAgent(t, s)
		a.Name, a.Developer.Name = "Picture Book", "Example Developers Ltd"
		a.Purpose = "Makes a book of the pictures that you like."
		l := a.authorize(stage.Provider, "pictures:read")
		b := newBrowser(t)
		b.open(l.url)
		b.await(allowHere)
		for id, want := range map[string]string{
			"until":    month,
			"end":      "To end it sooner, ask <b>Example</b> & Partners, IT: help@example.com. Maybe you can withdraw it in your The Gallery account, too.",
			"operator": "<b>Example</b> & Partners, IT",
			"contact":  "help@example.com",
		} {
			if got := b.text("#" + id); got != want {
				t.Errorf("the page shows %s %q, want %q", id, got, want)
			}
		}
		if got := evaluate[string](b, `document.getElementById("contact").href`); got != "mailto:help@example.com" {
			t.Errorf("the contact leads to %q", got)
		}
		evaluate[bool](b, `document.getElementById("operator").textContent = "Example Ltd, IT", true`)
		b.pictures(t, "standing")
		b.click(allowHere)
		b.await(password)
		if _, renewal := a.exchange(l, b.finish()); !strings.HasPrefix(renewal, "ath_rt_") {
			t.Errorf("what the user read and allowed gives the renewal %q", renewal)
		}
		b.open(l.url)
		b.refused("STATE_MISMATCH")
		if got := b.text("#contact"); got != "help@example.com" {
			t.Errorf("the page of a failure names %q", got)
		}
	})

	t.Run("the app's own terms", func(t *testing.T) {
		a := newAgent(t, s)
		b := newBrowser(t)
		b.open(a.authorize(stage.App, "products:read").url)
		b.await(allowHere)
		if got, want := b.text("#until"), "Until you end it, 7 days at most."; got != want {
			t.Errorf("the page shows %q, want %q", got, want)
		}
	})

	t.Run("Z-5: terms that no page has shown are not agreed to", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		field := `document.querySelector("input[name=renewal]")`
		b := newBrowser(t)
		for name, value := range map[string]string{
			"a year": "31536000-31536000." + strings.Repeat("A", 43),
			"bare":   "604800-604800",
		} {
			b.open(l.url)
			b.await(allowHere)
			evaluate[bool](b, fmt.Sprintf(`%s.value = %q, true`, field, value))
			b.click(allowHere)
			b.refused("STATE_MISMATCH")
			if got := b.last(decidePath); got.status != http.StatusBadRequest && got.status != http.StatusForbidden {
				t.Errorf("%s: answered %d", name, got.status)
			}
		}
		b.allow(l)
		if _, renewal := a.exchange(l, b.finish()); renewal == "" {
			t.Error("after that the honest way gives no renewal")
		}
	})

	t.Run("a page that shows no terms, as an older athd's, leads to no renewal", func(t *testing.T) {
		a, l, b := allowedWithoutTerms(t, s)
		if token, renewal := a.exchange(l, b.finish()); token == "" || renewal != "" {
			t.Errorf("the token comes with the renewal %q", renewal)
		}
	})

	t.Run("of two answers, the page that was allowed last counts", func(t *testing.T) {
		a, l, b := allowedWithoutTerms(t, s)
		b.back()
		b.reload()
		b.click(allowHere)
		b.await(password)
		if _, renewal := a.exchange(l, b.finish()); renewal == "" {
			t.Error("the page that shows terms gives no renewal")
		}
	})
}

// allowedWithoutTerms takes a user to the provider from a page that shows no terms.
func allowedWithoutTerms(t *testing.T, s *stage.Stage) (*anAgent, link, *tab) {
	t.Helper()
	a := newAgent(t, s)
	l := a.authorize(stage.App, "products:read")
	b := newBrowser(t)
	b.open(l.url)
	b.await(allowHere)
	evaluate[bool](b, `document.querySelector("input[name=renewal]").remove(), true`)
	b.click(allowHere)
	b.await(password)
	return a, l, b
}

// Nobody is named: the page says so, instead of promising somebody to ask.
// T-8
func TestThePageSaysThatItKnowsNobodyToAsk(t *testing.T) {
	t.Parallel()
	s := start(t, stage.Options{Renewal: "{max: 30d}"})
	a := newAgent(t, s)
	b := newBrowser(t)
	b.open(a.authorize(stage.App, "products:read").url)
	b.await(allowHere)
	for id, want := range map[string]string{
		"until":   "Until you end it, 30 days at most.",
		"end":     "To end it sooner, withdraw it in your The Shop account, among the applications that you allowed there. Nobody whom you could ask is named here.",
		"contact": "",
	} {
		if got := b.text("#" + id); got != want {
			t.Errorf("the page shows %s %q, want %q", id, got, want)
		}
	}
	stdout, _, err := stage.Run(t, s.Dir, "validate", "--config", "athd.yaml")
	if err != nil || !strings.Contains(stdout, "operator.contact is not set") {
		t.Errorf("validate: %v\n%s", err, stdout)
	}
}

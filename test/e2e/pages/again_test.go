package pages

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/athd/athd/test/harness/stage"
)

// What users do beside the straight way: a second tab, the back button, a
// reload, two clicks for one.
func usersGoBackAndForth(t *testing.T, s *stage.Stage) {
	works := func(t *testing.T, a *anAgent, l link, code string) {
		t.Helper()
		if refusal := a.redeem(l, code); refusal != "" {
			t.Errorf("the code is refused with %s", refusal)
		}
	}

	// F-8
	t.Run("Z-4: two tabs allow, one finishes, the other shows the same end", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		one := newBrowser(t)
		two := one.another(t)
		one.allow(l)
		two.allow(l)
		code := one.finish()
		two.login()
		two.click(allowThere)
		two.await("#code")
		if shown := two.text("#code"); shown != code {
			t.Errorf("the other tab shows %q", shown)
		}
		works(t, a, l, code)
	})

	t.Run("Z-4: Allow in a tab that was left open, after the other has finished", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		one := newBrowser(t)
		two := one.another(t)
		two.open(l.url)
		two.await(allowHere)
		one.allow(l)
		code := one.finish()
		two.click(allowHere)
		two.refused("STATE_MISMATCH")
		works(t, a, l, code)
	})

	t.Run("Z-3: two sessions in two tabs of one browser do not disturb each other", func(t *testing.T) {
		a := newAgent(t, s)
		l, m := a.authorize(stage.App, "products:read"), a.authorize(stage.App, "products:read")
		one := newBrowser(t)
		two := one.another(t)
		one.allow(l)
		two.allow(m)
		works(t, a, l, one.finish())
		works(t, a, m, two.finish())
	})

	t.Run("Z-5: back after Allow shows the page again, and Allow leads on again", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		b := newBrowser(t)
		b.allow(l)
		b.back()
		b.click(allowHere)
		b.await(password)
		works(t, a, l, b.finish())
	})

	t.Run("Z-5: back after Allow, and Deny: the last word counts", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		b := newBrowser(t)
		b.allow(l)
		callback := providerAnswers(t, s, b.where().String(), stage.User, stage.Password)
		b.back()
		b.click(denyHere)
		b.await("#denied")
		b.open(callback.String())
		b.await("#denied")
		if refusal := a.redeem(l, "ath_code_guess"); refusal != "USER_DENIED" {
			t.Errorf("the token call says %q, want USER_DENIED", refusal)
		}
	})

	// F-8
	t.Run("C-1: a reload of the completion page shows the same code until it is redeemed", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		b := newBrowser(t)
		b.allow(l)
		code := b.finish()
		for range 2 {
			b.reload()
			b.await("#code")
			if shown := b.text("#code"); shown != code || b.where().Path != "/ath/consent/done" {
				t.Errorf("%s shows %q", b.where().Path, shown)
			}
		}
		works(t, a, l, code)
		b.reload()
		b.refused("STATE_MISMATCH")
	})

	t.Run("C-1: back to a finished consent page offers nothing", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		b := newBrowser(t)
		b.allow(l)
		code := b.finish()
		b.open(l.url)
		b.refused("STATE_MISMATCH")
		if strings.Contains(evaluate[string](b, "document.documentElement.outerHTML"), "/ath/consent/decide") {
			t.Error("there is a form to decide again")
		}
		works(t, a, l, code)
	})

	t.Run("Z-5: two clicks on Allow are one", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		b := newBrowser(t)
		b.open(l.url)
		b.await(allowHere)
		b.do("double click", chromedp.DoubleClick(chromedp.CSS(allowHere)))
		b.await(password)
		works(t, a, l, b.finish())
	})
}

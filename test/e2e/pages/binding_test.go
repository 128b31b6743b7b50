package pages

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// The provider's answer counts only in a browser whose user was asked here.
func TestCallbackIsBoundToTheBrowser(t *testing.T) {
	t.Parallel()
	s := start(t, stage.Options{})

	t.Run("Z-3: a callback in another browser is refused and consumes nothing", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		first, other := newBrowser(t), newBrowser(t)
		first.allow(l)
		callback := providerAnswers(t, s, first.where().String(), stage.User, stage.Password)
		redeemed := s.OAuth.Stats().CodeRedemptions
		other.open(callback.String())
		other.refused("STATE_MISMATCH")
		if n := s.OAuth.Stats().CodeRedemptions; n != redeemed {
			t.Errorf("a refused callback redeemed %d codes", n-redeemed)
		}
		first.open(callback.String())
		first.await("#code")
		if refusal := a.redeem(l, first.text("#code")); refusal != "" {
			t.Errorf("the first browser's code is refused with %s", refusal)
		}
	})

	t.Run("Z-3, Z-4: the link may be open in two browsers, and one of them finishes", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		first, second := newBrowser(t), newBrowser(t)
		first.allow(l)
		second.allow(l)
		code := second.finish()
		first.login()
		first.click(allowThere)
		first.refused("STATE_MISMATCH")
		if refusal := a.redeem(l, code); refusal != "" {
			t.Errorf("the code of the browser that finished is refused with %s", refusal)
		}
	})

	t.Run("Z-5: a browser that saw the page but did not press Allow cannot finish for one that did", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		asked, undecided := newBrowser(t), newBrowser(t)
		asked.allow(l)
		callback := providerAnswers(t, s, asked.where().String(), stage.User, stage.Password)
		undecided.open(l.url)
		undecided.await(allowHere)
		undecided.open(callback.String())
		undecided.refused("STATE_MISMATCH")
		asked.open(callback.String())
		asked.await("#code")
	})

	t.Run("Z-3: a preview of the link changes nothing", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		for _, method := range []string{http.MethodHead, http.MethodGet, http.MethodGet} {
			req, err := http.NewRequestWithContext(t.Context(), method, l.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := a.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || (method == http.MethodHead) != (len(body) == 0) {
				t.Errorf("%s of the link: %d with %d bytes, %v", method, resp.StatusCode, len(body), err)
			}
		}
		b := newBrowser(t)
		b.allow(l)
		if refusal := a.redeem(l, b.finish()); refusal != "" {
			t.Errorf("the code is refused with %s", refusal)
		}
	})

	for name, openFirst := range map[string]bool{
		"without the link": false,
		"after the link":   true,
	} {
		t.Run("Z-5: an agent that leads past our page, to the provider itself, gets nothing, "+name, func(t *testing.T) {
			a := newAgent(t, s)
			l := a.authorize(stage.App, "products:read")
			b := newBrowser(t)
			if openFirst {
				b.open(l.url)
				b.await(allowHere)
			}
			b.open(l.provider) // built from the link's query
			b.login()
			b.click(allowThere)
			b.refused("STATE_MISMATCH")
			if refusal := a.redeem(l, "ath_code_guess"); refusal != "SESSION_NOT_FOUND" {
				t.Errorf("the token call says %q", refusal)
			}
			b.allow(l) // the honest way is still open
			if refusal := a.redeem(l, b.finish()); refusal != "" {
				t.Errorf("the code of the honest way is refused with %s", refusal)
			}
		})
	}
}

// The other two kinds of consent.
func TestConsentWithoutAPage(t *testing.T) {
	t.Parallel()
	t.Run("Z-3, Z-5: redirect asks nothing, and binds the browser all the same", func(t *testing.T) {
		s := start(t, stage.Options{Consent: "redirect"})
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		b, other := newBrowser(t), newBrowser(t)
		b.open(l.url)
		b.await(password)
		if n := len(b.cookies(s.Public)); n != 1 {
			t.Errorf("the browser holds %d cookies of ours", n)
		}
		other.open(providerAnswers(t, s, l.provider, stage.User, stage.Password).String())
		other.refused("STATE_MISMATCH")
		if refusal := a.redeem(l, b.finish()); refusal != "" {
			t.Errorf("the code of the browser that came through the link is refused with %s", refusal)
		}
	})
	t.Run("Z-3: direct leads to the provider, and binds nothing", func(t *testing.T) {
		s := start(t, stage.Options{Consent: "direct"})
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		if l.url != l.provider {
			t.Fatalf("the authorization_url is %s", l.url)
		}
		b := newBrowser(t)
		_, query, _ := strings.Cut(l.url, "?")
		b.open(s.Public + "/ath/consent/start?" + query)
		b.refused("STATE_MISMATCH")
		b.open(l.url)
		code := b.finish()
		if n := len(b.cookies(s.Public)); n != 0 {
			t.Errorf("the browser holds %d cookies of ours", n)
		}
		if refusal := a.redeem(l, code); refusal != "" {
			t.Errorf("the code is refused with %s", refusal)
		}
	})
}

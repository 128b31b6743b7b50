package pages

import (
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// The whole consent, by clicking, in both modes.
func userConsents(t *testing.T, s *stage.Stage) {
	for _, mode := range []struct {
		name, provider, shown string
		scopes                []string
	}{
		{"native", stage.App, "The Shop", []string{"products:read", "cart:write"}},
		{"gateway", stage.Provider, "The Gallery", []string{"pictures:read"}},
	} {
		t.Run("Z-5, C-6: "+mode.name, func(t *testing.T) {
			a := newAgent(t, s)
			a.Name = "Agent " + mode.name
			l := a.authorize(mode.provider, mode.scopes...)
			agentSite := newSite(t, `<a id="link" href="`+strings.ReplaceAll(l.url, "&", "&amp;")+`" rel="noreferrer">consent</a>`)
			b := newBrowser(t)
			b.open(agentSite.at(evilHost)) // a link on another site, as in a chat
			b.click("#link")
			b.await(allowHere)
			for id, want := range map[string]string{
				"domain":    strings.TrimPrefix(s.Agents, "http://"),
				"agent":     "Agent " + mode.name,
				"developer": "Demo Developers",
				"purpose":   "Shopping on behalf of the user",
				"agent-id":  a.claims,
				"until":     "For 1 hour at most. Then the agent has to ask you again.",
				"end":       "",
			} {
				if got := strings.TrimSpace(b.text("#" + id)); got != want {
					t.Errorf("the page shows %s %q, want %q", id, got, want)
				}
			}
			if got := strings.Fields(b.text("#scopes")); strings.Join(got, " ") != strings.Join(mode.scopes, " ") {
				t.Errorf("the page shows scopes %q, want %q", got, mode.scopes)
			}
			if h1 := b.text("h1"); !strings.Contains(h1, mode.shown) {
				t.Errorf("the heading %q does not name %s", h1, mode.shown)
			}
			b.click(allowHere)
			b.await(password)
			if got := b.where().Host; "http://"+got != s.Issuer {
				t.Fatalf("Allow leads to %s", got)
			}
			code := b.finish()
			if !strings.HasPrefix(code, "ath_code_") {
				t.Errorf("the completion page shows %q", code)
			}
			if refusal := a.redeem(l, code); refusal != "" {
				t.Errorf("the code that was shown is refused with %s", refusal)
			}
			if sent := b.sentReferers(); len(sent) > 0 {
				t.Errorf("pages told where the user came from: %q", sent)
			}
		})
	}

	t.Run("C-6, Z-1: a registered redirect gets code and state, and keeps its query", func(t *testing.T) {
		landing := newSite(t, `<p id="landed">landed</p>`)
		a := newAgent(t, s)
		a.Redirects = []string{landing.at("127.0.0.1") + "/landed?x=%2F&y=1+2"}
		l := a.authorize(stage.App, "products:read")
		b := newBrowser(t)
		b.allow(l)
		b.login()
		b.click(allowThere)
		b.await("#landed")
		query, kept := strings.CutPrefix(b.where().RawQuery, "x=%2F&y=1+2&")
		if !kept {
			t.Errorf("the query of the redirect is not kept: %s", b.where())
		}
		got, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		code := got.Get("code")
		for name, want := range map[string]string{
			"state": l.state, "ath_session_id": l.session, "session_id": l.session, "success": "true", "iss": s.Public, "code": code,
		} {
			if v := got[name]; len(v) != 1 || v[0] != want {
				t.Errorf("%s is %q, want %q", name, v, want)
			}
		}
		if len(got) != 6 || !strings.HasPrefix(code, "ath_code_") {
			t.Errorf("the agent is sent %q", got)
		}
		for _, r := range landing.visits() {
			if ref := r.Referer(); ref != "" {
				t.Errorf("the agent's site is told where the user came from: %s", ref)
			}
		}
		if refusal := a.redeem(l, code); refusal != "" {
			t.Errorf("the code is refused with %s", refusal)
		}
	})
}

func userDenies(t *testing.T, s *stage.Stage) {
	deny := map[string]func(*tab, link){
		"on our page": func(b *tab, l link) {
			b.open(l.url)
			b.click(denyHere)
		},
		"at the provider": func(b *tab, l link) {
			b.allow(l)
			b.login()
			b.click(denyThere)
		},
	}
	for where, deny := range deny {
		t.Run("C-5: "+where+", and a page says so", func(t *testing.T) {
			a := newAgent(t, s)
			l := a.authorize(stage.App, "products:read")
			b := newBrowser(t)
			deny(b, l)
			b.await("#denied")
			if refusal := a.redeem(l, "ath_code_guess"); refusal != "USER_DENIED" {
				t.Errorf("the token call says %q, want USER_DENIED", refusal)
			}
			b.open(l.url) // it is over, also for those who come back
			b.refused("STATE_MISMATCH")
		})
		t.Run("C-5, C-6: "+where+", and the agent is told by its redirect", func(t *testing.T) {
			landing := newSite(t, `<p id="landed">landed</p>`)
			a := newAgent(t, s)
			a.Redirects = []string{landing.at("127.0.0.1") + "/landed"}
			l := a.authorize(stage.App, "products:read")
			b := newBrowser(t)
			deny(b, l)
			b.await("#landed")
			got := b.where().Query()
			if got.Get("error") != "access_denied" || got.Get("error_description") == "" || got.Get("state") != l.state ||
				got.Get("ath_session_id") != l.session || got.Has("code") || got.Has("success") {
				t.Errorf("the agent is sent %q", got)
			}
			if refusal := a.redeem(l, "ath_code_guess"); refusal != "USER_DENIED" {
				t.Errorf("the token call says %q, want USER_DENIED", refusal)
			}
		})
	}

	t.Run("C-6, Z-1: on our page, and the agent is an app with a scheme of its own", func(t *testing.T) {
		const redirect = "com.example.agent:/done"
		a := newAgent(t, s)
		a.Redirects = []string{redirect}
		b := newBrowser(t)
		b.pardon("Failed to launch") // some Chromiums say that nobody handles the scheme
		b.open(a.authorize(stage.App, "products:read").url)
		b.click(denyHere)
		b.await("#continue") // no app has this scheme here, so the way on is what stays
		if href := evaluate[string](b, `document.getElementById("continue").href`); !strings.HasPrefix(href, redirect+"?") || !strings.Contains(href, "error=access_denied&") {
			t.Errorf("the page leads on to %q", href)
		}
	})
}

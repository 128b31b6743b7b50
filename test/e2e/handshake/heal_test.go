package handshake

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/provider"
)

// The same user allows the same again, and the token that the agent has goes on.
// proves: P-10
func TestTheSameUserHealsAConnectionInPlace(t *testing.T) {
	for name, fields := range map[string]string{"each consent for itself": asksUserinfo, "shared by the user's agents": asksUserinfo + `, "grants": "per_user"`} {
		t.Run(name, func(t *testing.T) {
			h := newHealthy(t, fields)
			if h.reason(t) != authz.Allowed {
				t.Fatal("the token does not work")
			}
			first := h.tokens(t)
			h.worn(t)
			link := h.link(t)
			since := len(h.log())
			b := h.newBrowser()
			page, err := b.Get(t.Context(), link)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"The Service has ended that", "asks for the same access again", "read", "write", "Allow again"} {
				if !strings.Contains(page.Text, want) && !strings.Contains(page.Body, want) {
					t.Errorf("the page does not say %q: %s", want, page.Text)
				}
			}
			if strings.Contains(page.Body, "alice") {
				t.Error("the page tells whose access it is")
			}
			if page, err = b.Submit(t.Context(), page.Form().Click("Allow again")); err != nil {
				t.Fatal(err)
			}
			healed(t, page)
			if got := h.reason(t); got != authz.Allowed {
				t.Fatalf("the same token is %s", got)
			}
			now := h.tokens(t)
			if now.Access.Equal(first.Access.Reveal()) || now.Epoch != first.Epoch || now.Created != first.Created || !now.RefreshStatus.Refused.IsZero() || now.RefreshStatus.Narrowed {
				t.Errorf("the connection is %+v, was %+v", now, first)
			}
			if e := h.eventsOf(since, "connection_healed"); len(e) != 1 || e[0]["user_id"] != "alice" || e[0]["agent_id"] != h.agent.id || e[0]["provider_id"] != "service" {
				t.Errorf("U-1: events %v", e)
			}
			t.Run("V-6: the first link does nothing any more", func(t *testing.T) {
				before := h.service.redeemed()
				page := h.press(h.newBrowser(), link, "Allow again")
				if page.Status == http.StatusOK || !strings.Contains(page.Text, "used already") {
					t.Errorf("%d %s", page.Status, page.Text)
				}
				if page := h.press(b, link, "Allow again"); !strings.Contains(page.Body, `id="healed"`) {
					t.Errorf("the browser that used it reads %d %s", page.Status, page.Text)
				}
				if h.service.redeemed() != before {
					t.Error("a code was redeemed")
				}
			})
			t.Run("and is refreshed as before", func(t *testing.T) {
				h.pass(6 * 60e9)
				if got := h.reason(t); got != authz.Allowed {
					t.Errorf("after the next end of the access token: %s", got)
				}
			})
			t.Run("and can be healed again, by another link", func(t *testing.T) {
				h.worn(t)
				healed(t, h.press(h.newBrowser(), h.link(t), "Allow again"))
				if got := h.reason(t); got != authz.Allowed {
					t.Errorf("the same token is %s", got)
				}
			})
		})
	}
}

// proves: P-10
func TestAnotherUserHealsNothing(t *testing.T) {
	for name, fields := range map[string]string{"each consent for itself": asksUserinfo, "shared by the user's agents": asksUserinfo + `, "grants": "per_user"`} {
		t.Run(name, func(t *testing.T) {
			h := newHealable(t, fields)
			link := h.link(t)
			before := h.tokens(t)
			h.service.set(func() { h.service.user = "mallory" })
			since := len(h.log())
			page := h.press(h.newBrowser(), link, "Allow again")
			unhealed(t, page, "other_user")
			if strings.Contains(page.Body, "alice") || strings.Contains(page.Body, "mallory") {
				t.Error("the page names a user")
			}
			if got := h.reason(t); got != authz.ReauthorizationRequired {
				t.Errorf("the token is %s", got)
			}
			if now := h.tokens(t); !now.Access.Equal(before.Access.Reveal()) || !now.Refresh.Equal(before.Refresh.Reveal()) {
				t.Error("the connection has other tokens")
			}
			if all := h.connectionsOf(t, "user=mallory"); len(all) != 0 {
				t.Errorf("mallory has %v", all)
			}
			if e := h.eventsOf(since, "access_denied"); !slices.ContainsFunc(e, func(e map[string]any) bool { return e["denial_reason"] == "healing_other_user" && e["user_id"] == "" }) {
				t.Errorf("U-1: events %v", e)
			}
			h.queued(t, "mallory") // V-5
			// The user whose it is still can, by another link.
			h.service.set(func() { h.service.user = "alice" })
			healed(t, h.press(h.newBrowser(), h.link(t), "Allow again"))
			if got := h.reason(t); got != authz.Allowed {
				t.Errorf("the token is %s", got)
			}
		})
	}
}

// queued wants tokens of a user's to be on their way to be revoked at the provider.
func (h *healable) queued(t *testing.T, user string) {
	t.Helper()
	due, err := h.store.DueRevocations(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range due {
		if held, err := h.store.Revocation(t.Context(), e.Tag); err == nil && held.Value.User == user {
			return
		}
	}
	t.Errorf("V-5: nothing of %s's is to be revoked", user)
}

// Where nobody says who the user is, there is no link; where it was said then and is
// not now, nothing changes.
// proves: P-10, T-7
func TestAnUnprovenUserHealsNothing(t *testing.T) {
	t.Run("never proven: no link", func(t *testing.T) {
		h := newHealable(t, "")
		d := h.call(t, h.decider, h.agent, h.token, "GET")
		if link := linkIn(t, d); link != "" || d.Reason() != authz.ReauthorizationRequired {
			t.Errorf("%s %s", d.Reason(), link)
		}
	})
	t.Run("proven no longer", func(t *testing.T) {
		h := newHealable(t, asksUserinfo)
		link := h.link(t)
		h.providers.Replace(h.service.provider(t, h.public, ""))
		unhealed(t, h.press(h.newBrowser(), link, "Allow again"), "user_unproven")
		h.providers.Replace(h.service.provider(t, h.public, asksUserinfo))
		if got := h.reason(t); got != authz.ReauthorizationRequired {
			t.Errorf("the token is %s", got)
		}
	})
	t.Run("by a field that changes hands", func(t *testing.T) {
		h := newHealable(t, asksUserinfo+`, "user_id_field": "sub"`)
		h.link(t)
		h = newHealthy(t, asksUserinfo)
		h.providers.Replace(h.service.provider(t, h.public, asksUserinfo+`, "user_id_field": "email"`))
		h.worn(t)
		if link := linkIn(t, h.call(t, h.decider, h.agent, h.token, "GET")); link != "" {
			t.Errorf("there is a link: %s", link)
		}
	})
}

// proves: P-10
func TestALinkIsForARefusalThatNothingElseExplains(t *testing.T) {
	h := newHealable(t, asksUserinfo)
	other := h.actor("other")
	other.register("service", "read")
	for name, c := range map[string]struct {
		agent         *actor
		token, method string
		want          authz.Reason
	}{
		"another agent's id": {other, h.token, "GET", authz.AgentIDMismatch},
		"no such token":      {h.agent, ath.NewToken(ath.NewTag()).Secret().Reveal(), "GET", authz.TokenUnknown},
		"no scope":           {h.agent, h.token, "DELETE", authz.ScopeMissing},
	} {
		d := h.call(t, h.decider, c.agent, c.token, c.method)
		if d.Reason() != c.want || linkIn(t, d) != "" {
			t.Errorf("%s: %s, with a link: %v", name, d.Reason(), linkIn(t, d) != "")
		}
	}
	t.Run("explain says so, and makes none", func(t *testing.T) {
		h.link(t)
		e, err := h.decider.Explain(t.Context(), authz.Question{Token: ath.NewSecret(h.token), Method: "GET", URL: "/ath/proxy/service/things"})
		if err != nil || e.Decision.Reason() != authz.ReauthorizationRequired || linkIn(t, e.Decision) != "" {
			t.Fatalf("%+v %v", e, err)
		}
		said := ""
		for _, s := range e.Steps {
			if s.Verdict == authz.Refuses {
				said = s.Found
			}
		}
		if !strings.Contains(said, "the refusal carries an authorization_url") {
			t.Errorf("explain says %q", said)
		}
	})
	for name, change := range map[string]func(*provider.Provider){
		"another client": func(p *provider.Provider) { p.ClientID = "another" },
		"another userinfo endpoint": func(p *provider.Provider) {
			p.UserinfoURL = &url.URL{Scheme: "https", Host: "elsewhere.example", Path: "/me"}
		},
	} {
		h := newHealable(t, asksUserinfo)
		link := h.link(t)
		p := *h.service.provider(t, h.public, asksUserinfo).Get("service")
		change(&p)
		h.replace(t, &p)
		d := h.call(t, h.decider, h.agent, h.token, "GET")
		if d.Reason() != authz.ReauthorizationRequired || linkIn(t, d) != "" {
			t.Errorf("O-2: %s: %s, with a link: %v", name, d.Reason(), linkIn(t, d) != "")
		}
		before := h.service.redeemed()
		unhealed(t, h.press(h.newBrowser(), link, "Allow again"), "provider_moved")
		if h.service.redeemed() != before {
			t.Errorf("%s: a code was redeemed", name)
		}
	}
}

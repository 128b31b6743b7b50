package handshake

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/internal/browser"
)

// endings are the ways in which access is ended on purpose.
var endings = map[string]func(*testing.T, *healable){
	"the agent gives the token back": func(t *testing.T, h *healable) {
		r := h.post("/ath/revoke", body{"client_id": h.agent.clientID, "client_secret": h.agent.secret, "token": h.token})
		if r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.raw)
		}
	},
	"an operator ends the connection": func(t *testing.T, h *healable) {
		token, err := ath.ParseToken(h.token)
		if err != nil {
			t.Fatal(err)
		}
		if r := h.operate("POST", "/ath/admin/connections/"+ath.NewConnectionID(token.Tag()).String()+"/end", ""); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.raw)
		}
	},
	"an operator ends the user": func(t *testing.T, h *healable) {
		if r := h.operate("POST", "/ath/admin/users/end", `{"user_id":"alice"}`); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.raw)
		}
	},
	"an operator suspends the agent": func(t *testing.T, h *healable) { h.action(t, h.agent, "suspend", "") },
	"an operator suspends and resumes the agent": func(t *testing.T, h *healable) {
		h.action(t, h.agent, "suspend", "")
		h.action(t, h.agent, "resume", "")
	},
	"the agent removes itself": func(t *testing.T, h *healable) {
		if r := h.ask("DELETE", h.agent.path(), "", "Authorization", basic(h.agent.clientID, h.agent.secret)); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.raw)
		}
	},
	"the agent removes itself and is there again": func(t *testing.T, h *healable) { h.agent.renew("service", "read", "write") },
}

// What user, agent or operator ended stays ended: before the link is opened, while
// the page is looked at, while the user is at the provider, and while the code is
// redeemed.
// proves: P-10, V-6
func TestWhatWasEndedOnPurposeIsNotHealed(t *testing.T) {
	for _, fields := range []string{asksUserinfo, asksUserinfo + `, "grants": "per_user"`} {
		for name, end := range endings {
			kind := "each for itself, "
			if strings.Contains(fields, "per_user") {
				kind = "shared, "
			}
			t.Run(kind+name, func(t *testing.T) {
				t.Run("before the link is opened", func(t *testing.T) {
					h := newHealable(t, fields)
					link := h.link(t)
					end(t, h)
					h.notHealed(t, h.press(h.newBrowser(), link, "Allow again"), 0)
				})
				t.Run("while the page is looked at", func(t *testing.T) {
					h := newHealable(t, fields)
					b := h.newBrowser()
					page, err := b.Get(t.Context(), h.link(t))
					if err != nil {
						t.Fatal(err)
					}
					end(t, h)
					if page, err = b.Submit(t.Context(), page.Form().Click("Allow again")); err != nil {
						t.Fatal(err)
					}
					h.notHealed(t, page, 0)
				})
				t.Run("while the user is at the provider", func(t *testing.T) {
					h := newHealable(t, fields)
					b, back := h.away(t, h.link(t))
					end(t, h)
					page, err := b.Get(t.Context(), back)
					if err != nil {
						t.Fatal(err)
					}
					h.notHealed(t, page, 0)
				})
				t.Run("while the code is redeemed", func(t *testing.T) {
					h := newHealable(t, fields)
					link := h.link(t)
					b, back := h.away(t, link)
					h.service.set(func() { h.service.hold, h.service.arrived = make(chan struct{}), make(chan struct{}) })
					done := make(chan *browser.Page)
					go func() {
						page, err := b.Get(t.Context(), back)
						if err != nil {
							t.Error(err)
						}
						done <- page
					}()
					<-h.service.arrived
					func() {
						defer close(h.service.hold)
						end(t, h)
					}()
					h.notHealed(t, <-done, 1)
					h.queued(t, "alice") // V-5: what came is given back
				})
			})
		}
	}
}

// away takes a user by a link to where the provider's answer would come back.
func (h *healable) away(t *testing.T, link string) (b *browser.Browser, back string) {
	t.Helper()
	b = h.newBrowser()
	held := true
	b.StopAt(func(u *url.URL) bool { return held && u.Path == "/ath/callback" })
	page := h.press(b, link, "Allow again")
	held = false
	if !page.Stopped {
		t.Fatalf("the browser is at %d %s", page.Status, page.Text)
	}
	return b, page.URL.String()
}

// notHealed wants a page that says that nothing was changed, a token that is
// refused, and so many codes redeemed since the first consent.
func (h *healable) notHealed(t *testing.T, page *browser.Page, codes int) {
	t.Helper()
	if !strings.Contains(page.Text, "Nothing was changed") {
		t.Errorf("the page: %d %s", page.Status, page.Text)
	}
	d := h.call(t, h.decider, h.agent, h.token, "GET")
	if d.Allowed() || linkIn(t, d) != "" {
		t.Errorf("the token is %s", d.Reason())
	}
	if got := h.service.redeemed() - 1; got != codes {
		t.Errorf("%d codes redeemed, want %d", got, codes)
	}
	if all := h.connectionsOf(t, "user=alice"); len(all) != 0 {
		t.Errorf("alice has %v", all)
	}
	if got := h.reason(t); got == authz.Allowed {
		t.Error("the token works")
	}
}

// Where agents share a connection, one of them can have lost all of it while another
// still has something: a link that was made for the first does nothing then, and one
// of the other heals it for who has it still.
// proves: P-10, V-6
func TestASharedConnectionIsHealedForWhoHoldsIt(t *testing.T) {
	h := newHealthy(t, asksUserinfo+`, "grants": "per_user"`)
	first, token := h.agent, h.token
	other := h.actor("other")
	others := h.allow(t, other, "alice", "read")
	h.worn(t)
	link := h.link(t)
	endings["the agent gives the token back"](t, h)
	unhealed(t, h.press(h.newBrowser(), link, "Allow again"), "ended")
	h.agent, h.token = other, others
	if got := h.reason(t); got != authz.ReauthorizationRequired {
		t.Fatalf("the other agent's token is %s", got)
	}
	b := h.newBrowser()
	page, err := b.Get(t.Context(), h.link(t))
	if err != nil || strings.Contains(page.Body, ">write<") || !strings.Contains(page.Body, ">read<") {
		t.Errorf("the page asks for what the other agent never had: %s %v", page.Text, err)
	}
	if page, err = b.Submit(t.Context(), page.Form().Click("Allow again")); err != nil {
		t.Fatal(err)
	}
	healed(t, page)
	if got := h.reason(t); got != authz.Allowed {
		t.Errorf("the other agent's token is %s", got)
	}
	d := h.call(t, h.decider, first, token, "GET")
	if got := d.Reason(); got != authz.TokenRevoked {
		t.Errorf("the first agent's token is %s", got)
	}
}

// Where the server keeps one grant per user, whoever allows an agent by another user's
// link has the server end the tokens of the agents that they have allowed themselves:
// those go on with what came of it, and the link's agent gets nothing.
// proves: P-10
func TestAStrangersOwnAgentsGoOn(t *testing.T) {
	h := newHealthy(t, asksUserinfo+`, "grants": "per_user"`)
	h.service.set(func() { h.service.perUser = true })
	own := h.actor("own")
	theirs := h.allow(t, own, "mallory", "read")
	h.service.set(func() {
		for token, user := range h.service.tokens {
			h.service.ended[token] = h.service.ended[token] || user == "alice"
		}
	})
	h.pass(6 * time.Minute)
	link := h.link(t)
	h.service.set(func() { h.service.user = "mallory" })
	unhealed(t, h.press(h.newBrowser(), link, "Allow again"), "other_user")
	if got := h.reason(t); got != authz.ReauthorizationRequired {
		t.Errorf("the token of the link's agent is %s", got)
	}
	h.pass(6 * time.Minute)
	d := h.call(t, h.decider, own, theirs, "GET")
	if got := d.Reason(); got != authz.Allowed {
		t.Errorf("mallory's own agent is %s", got)
	}
	d = h.call(t, h.decider, own, theirs, "POST")
	if got := d.Reason(); got != authz.ScopeMissing {
		t.Errorf("and may write: %s", got)
	}
}

package handshake

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// healableOnRedis is a healable on a redis-server.
func healableOnRedis(t *testing.T, fields string) (*healable, *realredis.Server, *tokenstore.Keyset) {
	t.Helper()
	redis := realredis.Start(t)
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	h := newHealable(t, fields, func(c *settings) {
		c.Store = opened(t, c, tokenstore.Config{URL: redis.URL(), Keyset: keys})
	})
	return h, redis, keys
}

// Nothing is stored for a refusal, nor for who looks at the link: with HEAD or GET,
// as a program that shows previews, or in a browser. Only a press of the button is.
// proves: P-10
func TestALinkIsStoredNowhere(t *testing.T) {
	h, server, _ := healableOnRedis(t, asksUserinfo)
	h.link(t) // the refusal of the refresh is stored
	before := server.Dump(t)
	link := h.link(t)
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		req, err := http.NewRequest(method, link, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := h.send(req)
		if method == http.MethodGet && r.status != http.StatusOK {
			t.Errorf("%s: %d %s", method, r.status, r.raw)
		}
	}
	b := h.newBrowser()
	page, err := b.Get(t.Context(), link)
	if err != nil || page.Status != http.StatusOK {
		t.Fatalf("%+v %v", page, err)
	}
	for _, kind := range []string{"iframe", "script"} {
		req, err := http.NewRequest(http.MethodGet, link, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Sec-Fetch-Dest", kind)
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		if r := h.send(req); r.status == http.StatusOK {
			t.Errorf("it opens for a %s", kind)
		}
	}
	if now := server.Dump(t); !maps.EqualFunc(before, now, bytes.Equal) {
		t.Errorf("stored: %v, before: %v", slices.Sorted(maps.Keys(now)), slices.Sorted(maps.Keys(before)))
	}
	if page, err = b.Submit(t.Context(), page.Form().Click("Deny")); err != nil || !strings.Contains(page.Text, "You did not allow it") {
		t.Fatalf("%+v %v", page, err)
	}
	if maps.EqualFunc(before, server.Dump(t), bytes.Equal) {
		t.Error("V-6: a denial is stored nowhere")
	}
	if page := h.press(h.newBrowser(), link, "Allow again"); page.Status == http.StatusOK {
		t.Errorf("V-6: the link that was denied opens again: %s", page.Text)
	}
}

// A link works on any replica, after a rotation of keys, once, and with the
// replica's own view of what has ended.
// proves: P-10, V-6
func TestALinkIsOneLinkOnEveryReplica(t *testing.T) {
	h, server, keys := healableOnRedis(t, asksUserinfo)
	text, err := keys.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	keys, err = tokenstore.ParseKeyset(text)
	if err != nil {
		t.Fatal(err)
	}
	other := opened(t, &h.config, tokenstore.Config{URL: server.URL(), Keyset: keys})
	there := h.twin(func(c *settings) { c.Store = other })
	decider := h.decides(t, other)
	link := h.link(t)
	at := func(base, link string) string { return strings.Replace(link, h.public, base, 1) }

	t.Run("pressed twice at once, on two replicas", func(t *testing.T) {
		var all sync.WaitGroup
		backs := make([]string, 2)
		browsers := make([]*browser.Browser, 2)
		for i, base := range []string{h.public, there} {
			browsers[i], backs[i] = h.away(t, at(base, link))
		}
		pages := make([]*browser.Page, 2)
		for i := range backs {
			all.Go(func() {
				page, err := browsers[i].Get(t.Context(), backs[i])
				if err != nil {
					t.Error(err)
				}
				pages[i] = page
			})
		}
		all.Wait()
		done := 0
		for _, page := range pages {
			if strings.Contains(page.Body, `id="healed"`) {
				done++
			}
		}
		if done != 1 || h.service.redeemed() != 2 {
			t.Errorf("%d browsers healed it, with %d codes: %s / %s", done, h.service.redeemed()-1, pages[0].Text, pages[1].Text)
		}
	})
	for name, d := range map[string]*authz.Decider{"here": h.decider, "there": decider} {
		decision := h.call(t, d, h.agent, h.token, "GET")
		if got := decision.Reason(); got != authz.Allowed {
			t.Errorf("%s the same token is %s", name, got)
		}
	}
	t.Run("V-6: used here, it is used there", func(t *testing.T) {
		page := h.press(h.newBrowser(), at(there, link), "Allow again")
		if page.Status == http.StatusOK {
			t.Errorf("%d %s", page.Status, page.Text)
		}
	})
	t.Run("ended here, it is ended there", func(t *testing.T) {
		h.worn(t)
		link := h.link(t)
		endings["an operator ends the connection"](t, h)
		unhealed(t, h.press(h.newBrowser(), at(there, link), "Allow again"), "ended")
	})
}

// proves: P-10
func TestALinkThatIsNotOursOpensNothing(t *testing.T) {
	h := newHealable(t, asksUserinfo)
	link := h.link(t)
	head, handle := h.public+ath.HealPath, strings.TrimPrefix(link, h.public+ath.HealPath)
	stranger := newHealable(t, asksUserinfo)
	foreign := strings.TrimPrefix(stranger.link(t), stranger.public+ath.HealPath)
	before := h.service.redeemed()
	for name, bad := range map[string]string{
		"changed":                  handle[:len(handle)/2] + string(handle[len(handle)/2]^1) + handle[len(handle)/2+1:],
		"cut":                      handle[:len(handle)-4],
		"with more":                handle + "AAAA",
		"of another installation":  foreign,
		"empty":                    "%00",
		"something else":           "x",
		"very long":                strings.Repeat("A", 8000),
		"with a slash":             handle + "/",
		"with a part of the path":  handle + "/decide",
		"a grant's record":         "AQ",
		"in another base64 coding": handle + "=",
	} {
		page := h.press(h.newBrowser(), head+bad, "Allow again")
		if page.Status < 400 || strings.Contains(page.Text, "Allow again") {
			t.Errorf("%s: %d %s", name, page.Status, page.Text)
		}
	}
	t.Run("after ten minutes", func(t *testing.T) {
		late := h.link(t)
		b := h.newBrowser()
		page, err := b.Get(t.Context(), late)
		if err != nil {
			t.Fatal(err)
		}
		h.pass(10*time.Minute + time.Second)
		if now := h.press(h.newBrowser(), late, "Allow again"); !strings.Contains(now.Text, "SESSION_EXPIRED") {
			t.Errorf("%d %s", now.Status, now.Text)
		}
		if page, err = b.Submit(t.Context(), page.Form().Click("Allow again")); err != nil || !strings.Contains(page.Text, "SESSION_EXPIRED") {
			t.Errorf("a page that was open: %+v %v", page, err)
		}
	})
	if h.service.redeemed() != before {
		t.Error("a code was redeemed")
	}
	if got := h.reason(t); got != authz.ReauthorizationRequired {
		t.Errorf("the token is %s", got)
	}
}

// The press is the user's: no other site, no other browser and no copied form does it,
// and the provider's answer counts in the browser that was sent there.
// proves: P-10, Z-3
func TestNobodyPressesForTheUser(t *testing.T) {
	h := newHealable(t, asksUserinfo)
	link := h.link(t)
	mine, theirs := h.newBrowser(), h.newBrowser()
	page, err := mine.Get(t.Context(), link)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Get(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	copied := page.Form().Click("Allow again")
	for name, send := range map[string]func() *http.Request{
		"no cookie": func() *http.Request {
			req, _ := http.NewRequest("POST", link, strings.NewReader("decision=allow&token="+copied.Values("token")[0]))
			return req
		},
		"another browser's form": func() *http.Request {
			req, _ := http.NewRequest("POST", link, strings.NewReader("decision=allow&token="+copied.Values("token")[0]))
			for _, c := range theirs.Cookies(req.URL) {
				req.AddCookie(c)
			}
			return req
		},
		"another site": func() *http.Request {
			req, _ := http.NewRequest("POST", link, strings.NewReader("decision=allow&token="+copied.Values("token")[0]))
			for _, c := range mine.Cookies(req.URL) {
				req.AddCookie(c)
			}
			req.Header.Set("Sec-Fetch-Site", "cross-site")
			req.Header.Set("Sec-Fetch-Mode", "navigate")
			req.Header.Set("Sec-Fetch-Dest", "document")
			return req
		},
	} {
		req := send()
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if r := h.send(req); r.status < 400 {
			t.Errorf("%s: %d", name, r.status)
		}
	}
	t.Run("the way to the provider, and back, is that of one browser", func(t *testing.T) {
		_, back := h.away(t, link)
		page, err := theirs.Get(t.Context(), back)
		if err != nil || page.Status < 400 {
			t.Errorf("%+v %v", page, err)
		}
	})
	if got := h.reason(t); got != authz.ReauthorizationRequired {
		t.Errorf("the token is %s", got)
	}
}

// Scopes become fewer, never more: what the provider grants beyond what there was
// does not count, and what it leaves out is gone, for renewals and tokens alike.
// proves: P-10
func TestHealingGivesNoMoreScopes(t *testing.T) {
	t.Run("more is granted", func(t *testing.T) {
		h := newHealthy(t, asksUserinfo)
		h.token = h.allow(t, h.agent, "alice", "read")
		h.worn(t)
		h.service.set(func() { h.service.scope = "read write admin" })
		healed(t, h.press(h.newBrowser(), h.link(t), "Allow again"))
		if got := h.service.asked.Get("scope"); got != "read" {
			t.Errorf("asked for %q", got)
		}
		if got := h.tokens(t).Scopes; !slices.Equal(got, ath.Scopes{"read"}) {
			t.Errorf("the connection has %q", got)
		}
		d := h.call(t, h.decider, h.agent, h.token, "POST")
		if d.Reason() != authz.ScopeMissing {
			t.Errorf("write is %s", d.Reason())
		}
	})
	t.Run("less is granted", func(t *testing.T) {
		h := newHealable(t, asksUserinfo)
		h.service.set(func() { h.service.scope = "read" })
		healed(t, h.press(h.newBrowser(), h.link(t), "Allow again"))
		for method, want := range map[string]authz.Reason{"GET": authz.Allowed, "POST": authz.ScopeMissing} {
			d := h.call(t, h.decider, h.agent, h.token, method)
			if d.Reason() != want {
				t.Errorf("%s is %s", method, d.Reason())
			}
		}
	})
	t.Run("none of it is granted", func(t *testing.T) {
		h := newHealable(t, asksUserinfo)
		h.service.set(func() { h.service.scope = "other" })
		unhealed(t, h.press(h.newBrowser(), h.link(t), "Allow again"), "no_scope")
		if got := h.reason(t); got != authz.ReauthorizationRequired {
			t.Errorf("the token is %s", got)
		}
	})
	t.Run("the provider refuses", func(t *testing.T) {
		h := newHealable(t, asksUserinfo)
		link := h.link(t)
		h.service.set(func() { h.service.refused = "invalid_client" })
		unhealed(t, h.press(h.newBrowser(), link, "Allow again"), "failed")
	})
}

// A refresh that is under way when the user comes back neither overwrites the new
// tokens nor has them marked as refused.
// proves: P-10
func TestARefreshUnderWayDoesNotUndoAHealing(t *testing.T) {
	h := newHealable(t, asksUserinfo)
	link := h.link(t)
	h.pass(6 * time.Minute) // the refused token is tried once more
	h.service.set(func() { h.service.hold, h.service.arrived = make(chan struct{}), make(chan struct{}) })
	refreshed := make(chan authz.Reason)
	go func() {
		d := h.decider.Decide(context.WithoutCancel(t.Context()), authz.Request{
			Method: "GET", Path: "/ath/proxy/service/things", Provider: "service", Mount: "/ath/proxy/service/",
			Authorization: []string{"Bearer " + h.token}, AgentID: []string{h.agent.id},
		})
		refreshed <- d.Reason()
	}()
	<-h.service.arrived // the call to the provider is under way
	hold := h.service.hold
	h.service.set(func() { h.service.hold = nil })
	healed(t, h.press(h.newBrowser(), link, "Allow again"))
	now := h.tokens(t)
	close(hold) // and is refused
	if got := <-refreshed; got != authz.Allowed {
		t.Errorf("the call that waited is %s", got)
	}
	if then := h.tokens(t); !then.Access.Equal(now.Access.Reveal()) || !then.RefreshStatus.Refused.IsZero() {
		t.Errorf("the tokens are %+v", then.RefreshStatus)
	}
	if got := h.reason(t); got != authz.Allowed {
		t.Errorf("the token is %s", got)
	}
}

// Links can be made in any number; what the store keeps for them is bounded.
// proves: P-10
func TestLinksUnderWayAreBounded(t *testing.T) {
	h := newHealable(t, asksUserinfo)
	var last *browser.Page
	for range 25 {
		b := browser.New()
		t.Cleanup(b.Close)
		page, err := b.Get(t.Context(), h.link(t))
		if err != nil {
			t.Fatal(err)
		}
		if last, err = b.Submit(t.Context(), page.Form().Click("Deny")); err != nil {
			t.Fatal(err)
		}
	}
	if last.Status != http.StatusTooManyRequests {
		t.Errorf("the 25th: %d %s", last.Status, last.Text)
	}
	h.pass(11 * time.Minute)
	healed(t, h.press(h.newBrowser(), h.link(t), "Allow again"))
}

// What cannot be put on record is not done: neither where that is known before, nor
// where it shows at the end.
// proves: U-1
func TestNothingIsHealedWithoutARecord(t *testing.T) {
	var full disk
	h := newHealable(t, asksUserinfo, func(c *settings) { c.Audit = audit.New(audit.Config{Writer: &full, JSON: true, Now: c.Now}) })
	before := h.tokens(t)
	for _, when := range []string{"at the end", "from the beginning"} {
		link := h.link(t)
		b, back := h.away(t, link)
		if when == "from the beginning" {
			b, back = h.newBrowser(), ""
		}
		full.becomes("full")
		var page *browser.Page
		if back == "" {
			page = h.press(b, link, "Allow again")
		} else {
			var err error
			if page, err = b.Get(t.Context(), back); err != nil {
				t.Fatal(err)
			}
		}
		if page.Status < 400 {
			t.Errorf("%s: %d %s", when, page.Status, page.Text)
		}
		full.becomes("")
		if got := h.reason(t); got != authz.ReauthorizationRequired {
			t.Errorf("%s: the token is %s", when, got)
		}
		if now := h.tokens(t); !now.Access.Equal(before.Access.Reveal()) {
			t.Errorf("%s: the connection has other tokens", when)
		}
	}
}

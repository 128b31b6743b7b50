package handshake

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/athd/athd/internal/browser"
)

// heldBack takes a user to where the provider's answer would come back, and
// returns that answer's URL.
func (w *world) heldBack(link, answer string) (b *browser.Browser, back string) {
	w.t.Helper()
	b = w.newBrowser()
	held := true
	b.StopAt(func(u *url.URL) bool { return held && u.Path == "/ath/callback" })
	page := w.atProvider(b, link, "alice")
	page, err := b.Submit(w.t.Context(), page.Form().Click(answer))
	held = false
	if err != nil || !page.Stopped {
		w.t.Fatalf("the browser is at %v: %v", page, err)
	}
	return b, page.URL.String()
}

// once sends one GET with a browser's cookies and follows nothing.
func (w *world) once(b *browser.Browser, target string) reply {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, target, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if b != nil {
		for _, c := range b.Cookies(req.URL) {
			req.AddCookie(c)
		}
	}
	return w.send(req)
}

// F-8
// proves: C-1
func TestRepeatedCallbackShowsTheSameEnd(t *testing.T) {
	w := newWorld(t)
	a := w.actor("again")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	b, back := w.heldBack(link, "Allow")
	code := athCode.FindString(w.once(b, back).raw)
	if code == "" {
		t.Fatal("the first callback shows no code")
	}
	redeemed := w.oauth.Stats().CodeRedemptions
	var done string
	for range 3 {
		r := w.once(b, back)
		done = r.header.Get("Location")
		if r.status != http.StatusSeeOther || !strings.HasPrefix(done, "/ath/consent/done?state=") || r.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("a repeated callback: %d %v", r.status, r.header)
		}
		if page := w.once(b, w.public+done); page.status != 200 || athCode.FindString(page.raw) != code {
			t.Errorf("the page shows %q, not the first code: %d", athCode.FindString(page.raw), page.status)
		}
	}
	if n := w.oauth.Stats().CodeRedemptions - redeemed; n != 0 {
		t.Errorf("the provider's code was redeemed %d times more", n)
	}
	for name, r := range map[string]reply{
		"no cookie":                w.once(nil, w.public+done),
		"no cookie, the callback":  w.once(nil, back),
		"a browser with the link":  w.once(w.opened(link), w.public+done),
		"another state":            w.once(b, w.public+done+"x"),
		"the link's state":         w.once(b, w.public+"/ath/consent/done?state="+stateOf(t, link)),
		"no state":                 w.once(b, w.public+"/ath/consent/done"),
		"the state twice":          w.once(b, w.public+done+"&"+strings.TrimPrefix(done, "/ath/consent/done?")),
		"a callback of its own":    w.once(w.opened(link), back),
		"another's finished state": w.once(b, w.public+"/ath/consent/done?state="+stateOf(t, w.finished(a))),
	} {
		if r.status != 400 || !strings.Contains(r.raw, "STATE_MISMATCH") || athCode.MatchString(r.raw) {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	if strings.Contains(w.log(), code) {
		t.Error("a log holds the code")
	}
	if r := w.post("/ath/token", a.exchange(session, code)); r.status != 200 {
		t.Fatalf("the code: %v", r)
	}
	for _, target := range []string{back, w.public + done} {
		if r := w.once(b, target); r.status != 400 || !strings.Contains(r.raw, "STATE_MISMATCH") || athCode.MatchString(r.raw) {
			t.Errorf("when the code is redeemed: %d %s", r.status, r.raw)
		}
	}
}

func (w *world) opened(link string) *browser.Browser {
	w.t.Helper()
	b := w.newBrowser()
	if _, err := b.Get(w.t.Context(), link); err != nil {
		w.t.Fatal(err)
	}
	return b
}

// finished takes another session to its end and returns its callback.
func (w *world) finished(a *actor) string {
	w.t.Helper()
	link, _ := a.authorize("gallery", []string{"pictures:read"})
	b, back := w.heldBack(link, "Allow")
	w.once(b, back)
	return back
}

func stateOf(t testing.TB, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("state")
}

// F-8: two browsers may allow; only the one that finished is shown the code.
// proves: C-1
func TestOtherBrowserThatAllowedIsShownNothing(t *testing.T) {
	w := newWorld(t)
	a := w.actor("two-browsers")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	first, back := w.heldBack(link, "Allow")
	second, back2 := w.heldBack(link, "Allow")
	code := athCode.FindString(w.once(first, back).raw)
	for _, target := range []string{back2, w.public + "/ath/consent/done?state=" + stateOf(t, back2)} {
		if r := w.once(second, target); r.status != 400 || !strings.Contains(r.raw, "STATE_MISMATCH") || athCode.MatchString(r.raw) {
			t.Errorf("the other browser: %d %s", r.status, r.raw)
		}
	}
	if r := w.post("/ath/token", a.exchange(session, code)); r.status != 200 {
		t.Errorf("the code: %v", r)
	}
}

// F-8: where the agent has a redirect, the code is sent there again.
// proves: C-6
func TestRepeatedCallbackDeliversTheSameCode(t *testing.T) {
	w := newWorld(t)
	a := w.actor("delivers")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"}, "user_redirect_uri", "https://agent.example/cb?x=1")
	b, back := w.heldBack(link, "Allow")
	first := w.once(b, back)
	again := w.once(b, w.public+w.once(b, back).header.Get("Location"))
	if first.status != http.StatusFound || again.status != http.StatusFound || again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("first %v\nagain %v", first.header, again.header)
	}
	if r := w.post("/ath/token", a.exchange(session, codeOf(t, again.header.Get("Location")))); r.status != 200 {
		t.Errorf("the code: %v", r)
	}
}

func codeOf(t testing.TB, target string) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("code")
}

// F-8: the second of two deliveries waits for the first, which redeems.
// proves: C-1
func TestCallbackThatComesTwiceAtOnce(t *testing.T) {
	w, asked, release := newWorldOfSlowTokens(t)
	a := w.actor("at-once")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	b, back := w.heldBack(link, "Allow")
	var first reply
	var wait sync.WaitGroup
	wait.Go(func() { first = w.once(b, back) })
	<-asked
	second := w.once(b, back)
	if second.status != http.StatusSeeOther {
		t.Errorf("the second delivery: %d %s", second.status, second.raw)
	}
	done := w.public + second.header.Get("Location")
	if page := w.once(b, done); page.status != 200 || !strings.Contains(page.raw, `http-equiv="refresh"`) || athCode.MatchString(page.raw) {
		t.Errorf("while the code is redeemed: %d %s", page.status, page.raw)
	}
	if page := w.once(b, done); !strings.Contains(page.raw, "waited=1") {
		t.Errorf("the page does not go on by itself: %s", page.raw)
	}
	if page := w.once(b, done+"&waited=24"); page.status != 502 || !strings.Contains(page.raw, "OAUTH_ERROR") || strings.Contains(page.raw, "refresh") {
		t.Errorf("after long waiting: %d %s", page.status, page.raw)
	}
	if r := w.once(nil, done); r.status != 400 {
		t.Errorf("a stranger meanwhile: %d", r.status)
	}
	close(release)
	wait.Wait()
	code := athCode.FindString(first.raw)
	if page := w.once(b, done); code == "" || athCode.FindString(page.raw) != code {
		t.Errorf("the first shows %q, the second %q", code, athCode.FindString(page.raw))
	}
	if len(asked) != 0 {
		t.Error("the provider's code was sent twice")
	}
	if r := w.post("/ath/token", a.exchange(session, code)); r.status != 200 {
		t.Errorf("the code: %v", r)
	}
}

// F-8, F-26
func TestRepeatedRefusalShowsItsEnd(t *testing.T) {
	w := newWorld(t)
	a := w.actor("refused-again")
	a.register("gallery", "pictures:read")

	t.Run("denied at the provider", func(t *testing.T) {
		link, _ := a.authorize("gallery", []string{"pictures:read"})
		b, back := w.heldBack(link, "Deny")
		for range 2 {
			page, err := b.Get(t.Context(), back)
			if err != nil || page.Status != 200 || !strings.Contains(page.Text, "was not allowed") {
				t.Errorf("%v %v", page, err)
			}
		}
	})
	t.Run("denied on our page, and the form sent again", func(t *testing.T) {
		link, _ := a.authorize("gallery", []string{"pictures:read"})
		b := w.newBrowser()
		page, err := b.Get(t.Context(), link)
		if err != nil {
			t.Fatal(err)
		}
		form := page.Form().Click("Deny")
		for range 2 {
			page, err := b.Submit(t.Context(), form)
			if err != nil || page.Status != 200 || !strings.Contains(page.Text, "was not allowed") {
				t.Errorf("%v %v", page, err)
			}
		}
	})
	t.Run("refused by the provider's server", func(t *testing.T) {
		link, _ := a.authorize("gallery", []string{"pictures:read"})
		b, back := w.heldBack(link, "Allow")
		u, err := url.Parse(back)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set("code", "a-code-of-nobody")
		u.RawQuery = q.Encode()
		for range 2 {
			page, err := b.Get(t.Context(), u.String())
			if err != nil || page.Status != 502 || !strings.Contains(page.Text, "tell them: OAUTH_ERROR") || !strings.Contains(page.Text, "invalid_grant") {
				t.Fatalf("%v %v", page, err)
			}
			id := decisionID.FindString(page.Text)
			if e := w.event(id); e == nil || e["denial_reason"] == "" {
				t.Errorf("no event has the page's decision %q", id)
			}
		}
	})
}

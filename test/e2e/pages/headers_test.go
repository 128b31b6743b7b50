package pages

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	"github.com/athd/athd/test/harness/stage"
)

// policy is what every page's Content-Security-Policy is: nothing but one
// style, forms to us, no base, no frame around it.
var policy = regexp.MustCompile(`^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$`)

// guarded checks the headers of a page, or of a redirect, of ours.
func guarded(t testing.TB, what string, d document) {
	t.Helper()
	want := map[string]string{
		"cache-control": "no-store", "referrer-policy": "no-referrer", "x-frame-options": "DENY",
		"x-content-type-options": "nosniff", "cross-origin-opener-policy": "same-origin",
	}
	if d.status < 300 || d.status >= 400 {
		want["content-type"] = "text/html; charset=utf-8"
		if got := d.header["content-security-policy"]; !policy.MatchString(got) {
			t.Errorf("%s: Content-Security-Policy is %q", what, got)
		}
	}
	for name, value := range want {
		if got := d.header[name]; got != value {
			t.Errorf("%s: %s is %q, want %q", what, name, got, value)
		}
	}
}

// last returns the last answer of a path.
func (b *tab) last(path string) document {
	b.t.Helper()
	all := b.visited(path)
	if len(all) == 0 {
		b.t.Fatalf("nothing of %s was visited", path)
	}
	return all[len(all)-1]
}

const (
	startPath    = "/ath/consent/start"
	decidePath   = "/ath/consent/decide"
	donePath     = "/ath/consent/done"
	callbackPath = "/ath/callback"
)

func headersOfEveryPage(t *testing.T, s *stage.Stage) {
	landing := newSite(t, `<p id="landed">landed</p>`)
	a := newAgent(t, s)
	b := newBrowser(t)

	l := a.authorize(stage.App, "products:read")
	b.allow(l)
	guarded(t, "consent", b.last(startPath))
	guarded(t, "continue", b.last(decidePath))
	b.finish()
	guarded(t, "completion", b.last(callbackPath))
	b.reload()
	b.await("#code")
	guarded(t, "completion, again", b.last(donePath))
	b.open(s.Public + callbackPath)
	b.refused("STATE_MISMATCH")
	guarded(t, "error", b.last(callbackPath))
	b.open(l.url)
	b.refused("STATE_MISMATCH")
	guarded(t, "error at the start", b.last(startPath))

	b.open(a.authorize(stage.App, "products:read").url)
	b.click(denyHere)
	b.await("#denied")
	guarded(t, "denied", b.last(decidePath))

	sent := newAgent(t, s)
	sent.Redirects = []string{landing.at("127.0.0.1") + "/landed"}
	b.allow(sent.authorize(stage.App, "products:read"))
	b.login()
	b.click(allowThere)
	b.await("#landed")
	guarded(t, "redirect to the agent", b.last(callbackPath))
	if referers := b.sentReferers(); len(referers) > 0 {
		t.Errorf("somebody was told where the user came from: %q", referers)
	}
}

// The cookie that binds the browser is out of reach for scripts, and on https
// for everybody but this host.
func TestCookiesAreHostOnlyAndHidden(t *testing.T) {
	t.Parallel()
	for scheme, tls := range map[string]bool{"http": false, "https": true} {
		t.Run("Z-3: "+scheme, func(t *testing.T) {
			s := start(t, stage.Options{TLS: tls})
			a := newAgent(t, s)
			l := a.authorize(stage.App, "products:read")
			b := newBrowser(t)
			b.open(l.url)
			b.await(allowHere)
			check := func() *network.Cookie {
				t.Helper()
				cookies := b.cookies(s.Public)
				if len(cookies) != 1 {
					t.Fatalf("the browser holds %d cookies of ours, want 1", len(cookies))
				}
				c := cookies[0]
				prefix := "ath_consent_"
				if tls {
					prefix = "__Host-ath_consent_"
				}
				if !strings.HasPrefix(c.Name, prefix) || c.Secure != tls || !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax ||
					c.Path != "/" || c.Domain != "localhost" {
					t.Errorf("the cookie is %+v", c)
				}
				if left := time.Until(time.Unix(int64(c.Expires), 0)); left <= 0 || left > 20*time.Minute+5*time.Second { // the session, and as long again to be told that it has expired
					t.Errorf("the cookie lives for %v", left)
				}
				if seen := evaluate[string](b, "document.cookie"); seen != "" {
					t.Errorf("a script can read %q", seen)
				}
				return c
			}
			before := check()
			b.click(allowHere)
			b.await(password)
			if after := b.cookies(s.Public); len(after) != 1 || after[0].Name != before.Name || after[0].Value == before.Value {
				t.Errorf("after Allow the browser holds %+v", after)
			}
			code := b.finish()
			check()
			if refusal := a.redeem(l, code); refusal != "" {
				t.Errorf("the code is refused with %s", refusal)
			}
		})
	}
}

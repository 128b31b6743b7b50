package pages

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// phone is the narrowest screen that the pages must fit.
const phone = 360

// What an agent says of itself is text: escaped, bounded, and unable to turn
// the page around it.
func TestAgentsWordsAreOnlyWords(t *testing.T) {
	t.Parallel()
	s := start(t, stage.Options{})
	cases := []struct {
		name, says, shown string
		// unfit: no identity document may say it. A purpose may.
		unfit bool
	}{
		{"a script", `<script>window.pwned=1;alert(1);document.title='pwned'</script>`, `<script>window.pwned=1;alert(1);document.title='pwned'</script>`, false},
		{"an image", `<img src=x onerror="window.pwned=1;alert(1)">`, `<img src=x onerror="window.pwned=1;alert(1)">`, false},
		{"quotes that close the attribute", `"'></dd><svg onload=alert(1)>`, `"'></dd><svg onload=alert(1)>`, false},
		{"a template", `{{.Page.Token}} ${alert(1)}`, `{{.Page.Token}} ${alert(1)}`, false},
		{"entities", `&lt;script&gt; &amp; &#x202e;`, `&lt;script&gt; &amp; &#x202e;`, false},
		{"text turned right to left", "Bank\u202egnp.elpmaxe\u2066\u2069\u200f", "Bankgnp.elpmaxe", true},
		{"zero-width characters", "Ex\u200bam\u200cple\ufeff\u00ad", "Example", false},
		{"control characters", "a\x07b\x1b[31mc\u0085\u2028d", "ab[31mc  d", true},
		{"lines", "one\ntwo\r\n\tthree", "one two   three", true},
		{"a private-use logo", "\ue000\uf8ffVerified", "Verified", false},
		{"nothing that can be seen", "\u200b\u2060", "(none)", false},
		{"a long word", strings.Repeat("W", 190), strings.Repeat("W", 120) + "…", false},
		{"long lines of wide letters", strings.Repeat("﷽", 60), strings.Repeat("﷽", 60), false},
		{"Hebrew", "סוכן קניות", "סוכן קניות", false},
	}
	for _, c := range cases {
		t.Run("Z-5: "+c.name, func(t *testing.T) {
			a := newAgent(t, s)
			a.Purpose = c.says
			name, developer := c.shown, c.shown
			a.Name, a.Developer.Name = c.says, c.says
			if c.unfit {
				if status, r := a.register(stage.App, "products:read"); status != http.StatusUnauthorized || r.Code != "INVALID_ATTESTATION" {
					t.Errorf("A-1: a document that says so is answered with %d %s", status, r.Code)
				}
				a = newAgent(t, s)
				a.Purpose, name, developer = c.says, a.Name, a.Developer.Name
			}
			l := a.authorize(stage.App, "products:read")
			b := newBrowser(t)
			b.resize(phone, 740, "light")
			b.open(l.url)
			b.await(allowHere)
			for id, want := range map[string]string{"agent": name, "developer": developer, "purpose": strings.TrimSuffix(c.shown, "(none)")} {
				if got := b.text("#" + id); got != want {
					t.Errorf("the page shows the %s as %q, want %q", id, got, want)
				}
			}
			if title := b.text("title"); title != "Allow access to The Shop?" {
				t.Errorf("the title is %q", title)
			}
			if evaluate[bool](b, "'pwned' in window") {
				t.Error("a script ran")
			}
			if n := evaluate[int](b, "document.querySelectorAll('script, img, svg, iframe, object, link').length"); n != 0 {
				t.Errorf("the page has %d elements that none of our pages has", n)
			}
			b.fits(phone)
			b.click(denyHere)
			b.await("#denied")
		})
	}

	t.Run("Z-5: an identity as long as may be", func(t *testing.T) {
		a := newAgentCalled(t, s, strings.Repeat("long", 50))
		a.Name = "Far Away"
		l := a.authorize(stage.App, stage.AppScopes...)
		b := newBrowser(t)
		b.resize(phone, 740, "light")
		b.open(l.url)
		b.await(allowHere)
		b.fits(phone)
	})

	for field, say := range map[string]func(*anAgent, string){
		"name":      func(a *anAgent, s string) { a.Name = s },
		"developer": func(a *anAgent, s string) { a.Developer.Name = s },
		"purpose":   func(a *anAgent, s string) { a.Purpose = s },
	} {
		t.Run("Z-5: 10 kB of "+field+" come to no page", func(t *testing.T) {
			a := newAgent(t, s)
			say(a, strings.Repeat("x", 10<<10))
			if status, r := a.register(stage.App, "products:read"); status < 400 || status >= 500 {
				t.Errorf("registered: %d %s", status, r.Code)
			}
		})
	}
}

// fits fails the test if the page is wider than the screen, or if a line of
// it is cut.
func (b *tab) fits(width int) {
	b.t.Helper()
	if wide := evaluate[int](b, "document.documentElement.scrollWidth"); wide > width {
		b.t.Errorf("the page is %d pixels wide on a screen of %d", wide, width)
	}
	if out := evaluate[[]string](b, `[...document.querySelectorAll("main *")].filter(e => {
		const r = e.getBoundingClientRect(); return r.right > innerWidth + 0.5 || r.left < -0.5
	}).map(e => e.outerHTML.slice(0, 120))`); len(out) > 0 {
		b.t.Errorf("outside the screen: %q", out)
	}
}

// What the provider says in the callback is not repeated.
func providersWordsAreNotRepeated(t *testing.T, s *stage.Stage) {
	const said = `<script>alert(1)</script><img src=x onerror=alert(1)>"'`
	for _, code := range []string{"access_denied", "server_error", said, strings.Repeat("x", 4000)} {
		t.Run("C-5: error "+code[:min(len(code), 20)], func(t *testing.T) {
			a := newAgent(t, s)
			l := a.authorize(stage.App, "products:read")
			b := newBrowser(t)
			b.allow(l)
			q := b.where().Query()
			answer := url.Values{"state": {q.Get("state")}, "iss": {s.Issuer}, "error": {code}, "error_description": {said}, "error_uri": {"javascript:alert(1)"}}
			b.open(s.Public + "/ath/callback?" + answer.Encode())
			want := "#error"
			if code == "access_denied" {
				want = "#denied"
			}
			b.await(want)
			html := evaluate[string](b, "document.documentElement.outerHTML")
			for _, part := range []string{"alert", "onerror", "xxxx"} {
				if strings.Contains(html, part) {
					t.Errorf("the page repeats %q:\n%s", part, html)
				}
			}
		})
	}
}

package pages

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/athd/athd/test/harness/stage"
)

// sites are where a stranger's page may be: on another site, and on another
// port of athd's own host, to which browsers send athd's cookies.
var sites = map[string]string{"another site": evilHost, "another origin of the same site": "localhost"}

// A page of a stranger's cannot show our page in a frame, to have it clicked.
func nobodyFramesThePages(t *testing.T, s *stage.Stage) {
	const refusal = "frame-ancestors 'none'"
	for name, host := range sites {
		for kind, element := range map[string]string{
			"iframe": `<iframe src="%s" width="600" height="600" onload="document.title='loaded'"></iframe>`,
			"object": `<object data="%s" type="text/html" width="600" height="600" onload="document.title='loaded'" onerror="document.title='loaded'"></object>`,
		} {
			t.Run("Z-5: clickjacking from "+name+" by "+kind, func(t *testing.T) {
				a := newAgent(t, s)
				l := a.authorize(stage.App, "products:read")
				b := newBrowser(t)
				b.pardon(refusal)
				b.open(l.url) // the user has seen the page, and has the cookie
				b.await(allowHere)
				trap := newSite(t, fmt.Sprintf(element, strings.ReplaceAll(l.url, "&", "&amp;")))
				b.open(trap.at(host))
				eventually(t, "the frame's load", func() bool {
					return evaluate[string](b, "document.title") == "loaded" && len(b.visited("/ath/consent/start")) > 1
				})
				// athd does not answer a frame; were it to, the browser would not
				// show it.
				answers := b.visited("/ath/consent/start")
				if framed := answers[len(answers)-1]; framed.status != 400 || !strings.Contains(framed.header["content-security-policy"], refusal) {
					t.Errorf("the frame is answered with %d %v", framed.status, framed.header)
				}
				if kind == "iframe" && !b.complained(refusal) {
					t.Error("the browser does not say that it refused to show the frame")
				}
				for _, shown := range b.frames() {
					if strings.Contains(shown, "Allow") || strings.Contains(shown, "/ath/consent/decide") {
						t.Errorf("the frame shows our page:\n%s", shown)
					}
				}
			})
		}
	}
}

// frames returns what the frames of other processes in this tab show.
func (b *tab) frames() []string {
	b.t.Helper()
	infos, err := chromedp.Targets(b.ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	shown := []string{evaluate[string](b, `Array.from({length: window.length}, (_, i) => { try { return window[i].document.documentElement.outerHTML } catch { return "" } }).join("\n")`)}
	for _, info := range infos {
		if info.Type != "iframe" {
			continue
		}
		ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(info.TargetID))
		html, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.documentElement.outerHTML"))
		cancel()
		if err != nil {
			b.t.Fatalf("the frame %s: %v", info.URL, err)
		}
		shown = append(shown, html)
	}
	return shown
}

// A form on a stranger's page cannot decide for the user.
func foreignFormsDoNotDecide(t *testing.T, s *stage.Stage) {
	for name, host := range sites {
		for _, decision := range []string{"allow", "deny"} {
			t.Run("Z-5: "+decision+" from "+name, func(t *testing.T) {
				a := newAgent(t, s)
				l := a.authorize(stage.App, "products:read")
				victim, attacker := newBrowser(t), newBrowser(t)
				victim.open(l.url)
				victim.await(allowHere)
				attacker.open(l.url) // the best that an attacker has: a form token of their own
				attacker.await(allowHere)
				hidden := func(field string) string {
					return evaluate[string](attacker, `document.querySelector("input[name=`+field+`]").value`)
				}
				trap := newSite(t, fmt.Sprintf(`<form method="post" action="%s/ath/consent/decide">
<input name="state" value="%s"><input name="token" value="%s"><input name="decision" value="%s"></form>
<script>document.forms[0].submit()</script>`, s.Public, hidden("state"), hidden("token"), decision))
				victim.open(trap.at(host))
				victim.refused("STATE_MISMATCH")

				// Nothing was decided: the provider's answer is not taken, and
				// the user can still be asked.
				victim.open(providerAnswers(t, s, l.provider, stage.User, stage.Password).String())
				victim.refused("STATE_MISMATCH")
				victim.allow(l)
				if refusal := a.redeem(l, victim.finish()); refusal != "" {
					t.Errorf("the code is refused with %s", refusal)
				}
			})
		}
	}

	t.Run("Z-5: a page that another one opened is out of its reach", func(t *testing.T) {
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		opener := newSite(t, `<p>lure</p>`)
		b := newBrowser(t)
		b.open(opener.at("localhost"))
		evaluate[bool](b, `(window.w = open("`+l.url+`"), true)`)
		eventually(t, "the opened window is out of reach", func() bool { return evaluate[bool](b, "w.closed") })
	})
}

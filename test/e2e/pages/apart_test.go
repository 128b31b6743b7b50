package pages

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// The consent pages on a host of their own: the whole walk leads over both.
// S-5
func TestConsentOnAHostOfItsOwn(t *testing.T) {
	t.Parallel()
	s := start(t, stage.Options{ConsentHost: consentHost})
	consent := strings.TrimPrefix(s.ConsentURL, "http://")
	for mode, provider := range map[string]string{"native": stage.App, "gateway": stage.Provider} {
		t.Run("Z-3, Z-5, C-6: "+mode, func(t *testing.T) {
			a := newAgent(t, s)
			l := a.authorize(provider, map[string]string{stage.App: "products:read", stage.Provider: "pictures:read"}[provider])
			b := newBrowser(t)
			b.allow(l)
			if d := b.last(startPath); d.url.Host != consent {
				t.Errorf("the page is at %s", d.url)
			}
			code := b.finish()
			if at := b.where(); at.Host != consent || at.Path != callbackPath {
				t.Errorf("the last page is at %s", at)
			}
			callbacks := b.visited(callbackPath)
			if len(callbacks) != 2 || callbacks[0].url.Host != s.Host() || callbacks[0].status != http.StatusSeeOther ||
				callbacks[0].header["referrer-policy"] != "no-referrer" || callbacks[0].header["cache-control"] != "no-store" ||
				callbacks[0].header["set-cookie"] != "" || callbacks[1].url.Host != consent {
				t.Errorf("the callbacks: %+v", callbacks)
			}
			if ours, theirs := b.cookies(s.ConsentURL), b.cookies(s.Public); len(ours) != 1 || len(theirs) != 0 {
				t.Errorf("%d cookies on the consent host, %d on the other", len(ours), len(theirs))
			}
			b.reload()
			b.await("#code")
			if again := b.text("#code"); again != code {
				t.Errorf("the page shows %q, and then %q", code, again)
			}
			if refusal := a.redeem(l, code); refusal != "" {
				t.Errorf("the code is refused with %s", refusal)
			}
			if sent := b.sentReferers(); len(sent) > 0 {
				t.Errorf("pages told where the user came from: %q", sent)
			}
		})
	}
}

// html makes the app serve a page to people.
func html(s *stage.Stage, path, page string) {
	s.App.Serve(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, page)
	})
}

func script(s *stage.Stage, path, text string) {
	s.App.Serve(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		w.Header().Set("Service-Worker-Allowed", "/")
		io.WriteString(w, text)
	})
}

// undecided fails the test if anything was decided: the agent has nothing, and
// the user can still be asked.
func undecided(t *testing.T, s *stage.Stage, a *anAgent, l link, b *tab) {
	t.Helper()
	if refusal := a.redeem(l, "ath_code_guess"); refusal != "SESSION_NOT_FOUND" {
		t.Errorf("the token call says %q", refusal)
	}
	b.open(providerAnswers(t, s, l.provider, stage.User, stage.Password).String())
	b.refused("STATE_MISMATCH")
}

// A script on the app's pages tries to consent for the user who is there, and
// who has opened the link before.
// S-5
func TestScriptOfAnAppCannotConsent(t *testing.T) {
	t.Parallel()
	for layout, o := range map[string]stage.Options{
		"the consent pages apart":            {ConsentHost: consentHost, Unauthenticated: "passthrough"},
		"the consent pages on the same host": {Unauthenticated: "passthrough"},
	} {
		t.Run("Z-5: "+layout, func(t *testing.T) {
			s := start(t, o)
			a := newAgent(t, s)
			l := a.authorize(stage.App, "products:read")
			b := newBrowser(t)
			b.pardon("CORS", "frame-ancestors", "Failed to load resource", "X-Frame-Options")
			b.open(l.url)
			b.await(allowHere)
			html(s, "/attack.html", fmt.Sprintf(`<body><script>(async () => {
const link = %q, decide = %q, found = {};
const token = text => (/name="token" value="([^"]+)"/.exec(text) || [])[1] || "";
for (const options of [{credentials: "include"}, {credentials: "include", redirect: "manual"}, {credentials: "include", mode: "no-cors"}, {credentials: "include", cache: "force-cache"}]) {
	try { found["fetch " + JSON.stringify(options)] = token(await (await fetch(link, options)).text()) } catch {}
}
for (const kind of ["iframe", "object", "embed"]) {
	const e = document.createElement(kind);
	e[kind === "object" ? "data" : "src"] = link;
	document.body.append(e);
	await new Promise(done => { e.onload = e.onerror = done; setTimeout(done, 1500) });
	try { found[kind] = token(e.contentDocument.documentElement.outerHTML) } catch {}
}
const state = new URL(link).searchParams.get("state");
for (const t of Object.values(found).concat("guess")) {
	try { await fetch(decide, {method: "POST", credentials: "include", body: new URLSearchParams({state, token: t, decision: "allow"})}) } catch {}
	try { await fetch(decide, {method: "POST", credentials: "include", mode: "no-cors", body: new URLSearchParams({state, token: t, decision: "allow"})}) } catch {}
}
window.found = JSON.stringify(found); document.title = "tried";
})()</script>`, l.url, s.ConsentURL+decidePath))
			b.open(s.Public + "/attack.html")
			eventually(t, "the script's trial", func() bool { return evaluate[string](b, "document.title") == "tried" })
			found := map[string]string{}
			if err := json.Unmarshal([]byte(evaluate[string](b, "window.found")), &found); err != nil {
				t.Fatal(err)
			}
			for how, token := range found {
				if token != "" {
					t.Errorf("by %s the script has read a form token", how)
				}
			}
			undecided(t, s, a, l, b)
			b.allow(l)
			if refusal := a.redeem(l, b.finish()); refusal != "" {
				t.Errorf("the honest way ends with %s", refusal)
			}
		})
	}
}

// worker takes the consent page's place wherever it can.
const worker = `
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", e => e.waitUntil(clients.claim()));
self.addEventListener("fetch", e => {
	const u = new URL(e.request.url);
	if (u.pathname.startsWith("/ath/consent/"))
		e.respondWith(new Response("<p id='rewritten'>rewritten</p>", {headers: {"Content-Type": "text/html"}}));
	else if (u.pathname === "/try")
		e.respondWith(fetch(u.searchParams.get("link"), {credentials: "include"}).then(r => r.text()).then(text => new Response(text), () => new Response("failed")));
});`

// registering is a page that is ready once the worker stands between it and the
// network: an active worker may not have claimed it yet.
func registering(path, scope string) string {
	return fmt.Sprintf(`<script>navigator.serviceWorker.register(%q, {scope: %q}).then(() => navigator.serviceWorker.ready)
.then(() => new Promise(is => navigator.serviceWorker.controller ? is() : navigator.serviceWorker.addEventListener("controllerchange", is)))
.then(() => { document.title = "ready" }, e => { document.title = "refused: " + e.name })</script>`, path, scope)
}

func (b *tab) registered() string {
	b.t.Helper()
	var title string
	eventually(b.t, "the service worker's registration", func() bool {
		title = evaluate[string](b, "document.title")
		return title == "ready" || strings.HasPrefix(title, "refused")
	})
	return title
}

// A service worker of the app's origin stands between the browser and every
// page there. What it can do to a page on the same host is why consent_url
// exists, and is shown first.
// S-5
func TestServiceWorkerOfAnApp(t *testing.T) {
	t.Parallel()
	t.Run("on the same host it takes the page's place, of which validate warns", func(t *testing.T) {
		s := start(t, stage.Options{Unauthenticated: "passthrough"})
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		script(s, "/worker.js", worker)
		html(s, "/", registering("/worker.js", "/"))
		b := newBrowser(t)
		b.open(s.Public + "/")
		if got := b.registered(); got != "ready" {
			t.Fatal(got)
		}
		b.open(l.url)
		b.await("#rewritten")
		stdout, stderr, err := stage.Run(t, s.Dir, "validate", "--config", "athd.yaml")
		if err != nil || !strings.Contains(stdout, "set consent_url to a host name of its own") {
			t.Errorf("validate: %v\n%s%s", err, stdout, stderr)
		}
	})
	t.Run("Z-5: the consent pages apart are out of its reach", func(t *testing.T) {
		s := start(t, stage.Options{ConsentHost: consentHost, Unauthenticated: "passthrough"})
		a := newAgent(t, s)
		l := a.authorize(stage.App, "products:read")
		script(s, "/worker.js", worker)
		html(s, "/", registering("/worker.js", "/"))
		b := newBrowser(t)
		b.pardon("CORS", "Failed to load resource")
		b.open(l.url)
		b.await(allowHere)
		b.open(s.Public + "/")
		if got := b.registered(); got != "ready" {
			t.Fatal(got)
		}
		evaluate[bool](b, fmt.Sprintf(`(fetch("/try?link=" + encodeURIComponent(%q)).then(r => r.text()).then(text => { window.got = text }), true)`, l.url))
		eventually(t, "the worker's fetch", func() bool { return evaluate[bool](b, "typeof window.got === 'string'") })
		if got := evaluate[string](b, "window.got"); got != "failed" {
			t.Errorf("the worker has read %q", got)
		}
		b.open(l.url)
		b.await(allowHere)
		if b.text("#rewritten") != "" {
			t.Error("the worker has changed the page")
		}
		undecided(t, s, a, l, b)
		b.open(l.url)
		b.click(denyHere)
		b.await("#denied")
		if refusal := a.redeem(l, "ath_code_guess"); refusal != "USER_DENIED" {
			t.Errorf("the token call says %q", refusal)
		}
		if stdout, _, err := stage.Run(t, s.Dir, "validate", "--config", "athd.yaml"); err != nil || strings.Contains(stdout, "consent_url") {
			t.Errorf("validate: %v\n%s", err, stdout)
		}
	})
	t.Run("an app below a prefix gets no scope beyond it", func(t *testing.T) {
		s := start(t, stage.Options{Unauthenticated: "passthrough", PathPrefix: "/shop"})
		script(s, "/shop/worker.js", worker)
		for name, page := range map[string]string{
			"its own script": registering("/shop/worker.js", "/"),
			"a page of ours": registering("/ath/callback", "/ath/"),
			"discovery":      registering("/.well-known/ath.json", "/.well-known/"),
		} {
			html(s, "/shop/register.html", page)
			b := newBrowser(t)
			b.pardon("max scope allowed", "bad HTTP response code (400)")
			b.open(s.Public + "/shop/register.html")
			if got := b.registered(); !strings.HasPrefix(got, "refused") {
				t.Errorf("%s: %s", name, got)
			}
		}
	})
}

// An attacker's finished login does nothing in the victim's browser, whichever
// host it is brought to, and whatever cookies a script of a neighbour sets.
// S-5
func TestLoginCSRFAcrossTheTwoHosts(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]stage.Options{
		"http":                               {ConsentHost: consentHost},
		"https, and both hosts are one site": {Host: "gateway." + twoHosts, ConsentHost: "consent." + twoHosts, TLS: true},
	} {
		t.Run("Z-3: "+name, func(t *testing.T) {
			o.Unauthenticated = "passthrough"
			s := start(t, o)
			a := newAgent(t, s)
			l := a.authorize(stage.App, "products:read")
			attacker, victim := newBrowser(t), newBrowser(t)
			attacker.allow(l)
			callback := providerAnswers(t, s, attacker.where().String(), stage.Stranger, stage.StrangerPassword)
			own := a.authorize(stage.App, "products:read")
			victim.allow(own) // the victim has a session of their own under way

			attackers, _, _ := strings.Cut(callback.Query().Get("state"), "_")
			var toss []string
			for _, c := range attacker.cookies(s.ConsentURL) {
				for _, domain := range []string{"", "; Domain=" + twoHosts, "; Domain=localhost", "; Domain=consent." + twoHosts, "; Domain=" + consentHost} {
					for _, name := range []string{c.Name, strings.TrimPrefix(c.Name, "__Host-"), "__host-" + strings.TrimPrefix(c.Name, "__Host-")} {
						toss = append(toss, fmt.Sprintf("document.cookie = %q", name+"="+c.Value+"; Path=/; Secure"+domain))
						toss = append(toss, fmt.Sprintf("document.cookie = %q", name+"="+c.Value+"; Path=/"+domain))
					}
				}
			}
			html(s, "/toss.html", "<script>"+strings.Join(toss, "\n")+"\ndocument.title = 'tossed'</script>")
			victim.open(s.Public + "/toss.html")
			eventually(t, "the tossing", func() bool { return evaluate[string](victim, "document.title") == "tossed" })

			before := s.OAuth.Stats().CodeRedemptions
			elsewhere := *callback
			elsewhere.Host = strings.TrimPrefix(strings.TrimPrefix(s.ConsentURL, "http://"), "https://")
			for _, target := range []string{callback.String(), elsewhere.String(), s.ConsentURL + donePath + "?state=" + callback.Query().Get("state")} {
				victim.open(target)
				victim.refused("STATE_MISMATCH")
			}
			if s.OAuth.Stats().CodeRedemptions != before {
				t.Error("the attacker's code was redeemed")
			}
			victim.allow(own)
			if refusal := a.redeem(own, victim.finish()); refusal != "" {
				t.Errorf("the victim's own session ends with %s", refusal)
			}
			for _, c := range victim.cookies(s.ConsentURL) {
				if o.TLS && strings.HasPrefix(c.Name, "__Host-") && (!c.Secure || !c.HTTPOnly || strings.Contains(c.Name, attackers)) {
					t.Errorf("a cookie of ours is %+v", c)
				}
			}
		})
	}
}

package handshake

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/provider"
)

// apart gives the consent pages a host name of their own: both names lead to
// the world's companion.
func apart(w *settings) {
	w.ConsentURL = strings.Replace(w.PublicURL, "127.0.0.1", "localhost", 1)
}

func (w *world) consentURL() string { return strings.Replace(w.public, "127.0.0.1", "localhost", 1) }

// ask sends one request, to a host of the test's choice.
func (w *world) knock(method, host, target string, headers ...string) reply {
	w.t.Helper()
	req, err := http.NewRequest(method, w.public+target, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Host = host
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return w.send(req)
}

// S-5
// proves: Z-3
func TestConsentPagesHaveTheirHostForThemselves(t *testing.T) {
	w := newWorld(t, apart)
	_, port, _ := strings.Cut(strings.TrimPrefix(w.public, "http://"), ":")
	elsewhere := []string{"127.0.0.1:" + port, "127.0.0.1", "gateway.example", "sub.localhost", "localhost.example", ""}
	here := []string{"localhost:" + port, "localhost", "LOCALHOST:" + port, "localhost.", "localhost:1"}
	for _, path := range []string{"/ath/consent/start", "/ath/consent/decide", "/ath/consent/done"} {
		for _, host := range elsewhere {
			for _, method := range []string{"GET", "POST"} {
				if r := w.knock(method, host, path+"?state=x"); !r.is(404, "NOT_FOUND") || r.header.Get("Set-Cookie") != "" {
					t.Errorf("%s %s at %q: %v", method, path, host, r)
				}
			}
		}
		for _, host := range here {
			if r := w.knock("GET", host, path); r.status == 404 {
				t.Errorf("%s at %q is not there", path, host)
			}
		}
	}
	for _, path := range []string{
		"/health", "/.well-known/ath.json", "/.well-known/ath-app.json", "/ath/authorize", "/ath/token", "/ath/revoke",
		"/ath/agents/register", "/ath/agents/x", "/ath/admin/agents", "/ath/admin/providers", "/ath/proxy/gallery/x", "/", "/index.html", "/ath/consent/other",
	} {
		for _, host := range here {
			for _, method := range []string{"GET", "POST", "OPTIONS"} {
				if r := w.knock(method, host, path); !r.is(404, "NOT_FOUND") {
					t.Errorf("%s %s at %q: %v", method, path, host, r)
				}
			}
		}
	}
	if r := w.knock("GET", "gateway.example", "/.well-known/ath.json"); r.status != 200 || r.text("consent_origin") != w.consentURL() {
		t.Errorf("discovery elsewhere: %v", r)
	}
	// P-9: a client of the app alone knows the origin, too.
	if r := w.knock("GET", "gateway.example", "/.well-known/ath-app.json"); r.status != 200 || r.text("consent_origin") != w.consentURL() {
		t.Errorf("the app's discovery elsewhere: %v", r)
	}
}

// S-5
// proves: Z-3
func TestCallbackElsewhereOnlyLeadsOnToTheConsentOrigin(t *testing.T) {
	w := newWorld(t, apart)
	a := w.actor("led-on")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	if !strings.HasPrefix(link, w.consentURL()+"/ath/consent/start?") {
		t.Fatalf("the link is %s", link)
	}
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Query().Get("redirect_uri"); got != w.public+"/ath/callback" {
		t.Errorf("the OAuth server is told %q", got)
	}
	for _, query := range []string{"", "?state=" + u.Query().Get("state") + "&code=x", "?state=%2F&state=a+b&code=%c3%a9&;,'!=()"} {
		r := w.knock("GET", "", "/ath/callback"+query, "Cookie", "ath_consent_x=y")
		if r.status != http.StatusSeeOther || r.header.Get("Location") != w.consentURL()+"/ath/callback"+query ||
			r.header.Get("Referrer-Policy") != "no-referrer" || r.header.Get("Cache-Control") != "no-store" ||
			r.header.Get("Set-Cookie") != "" || r.raw != "" {
			t.Errorf("%q: %d %v", query, r.status, r.header)
		}
	}
	// Nothing was touched: the user goes the whole way over both hosts, and the
	// registered redirect_uri is the one that the code is redeemed with, which
	// the OAuth server compares.
	page := w.consent(w.newBrowser(), link)
	if page.URL.Host != strings.TrimPrefix(w.consentURL(), "http://") {
		t.Errorf("the last page is at %s", page.URL)
	}
	if r := w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body))); r.status != 200 {
		t.Errorf("token: %v", r)
	}
}

// S-5, where an app is known under a host of its own and the consent pages are
// on public_url.
func TestAudiencesHostHasNoConsentPage(t *testing.T) {
	w := newWorld(t, func(c *settings) {
		apps := c.Providers.Current().Apps()
		shop := *apps[0]
		app := *shop.App
		app.Audience, app.CallbackURL = "http://shop.example", "http://shop.example/ath/callback"
		shop.App = &app
		set, err := provider.NewSet(c.Providers.Current().Get("gallery"), &shop)
		if err != nil {
			t.Fatal(err)
		}
		c.Providers = provider.NewProviders(set)
	})
	a := w.actor("audience")
	a.register("shop", "products:read")
	link, _ := a.authorize("shop", []string{"products:read"})
	if !strings.HasPrefix(link, w.public+"/ath/consent/start?") {
		t.Errorf("the link is %s", link)
	}
	if r := w.knock("GET", "shop.example", strings.TrimPrefix(link, w.public)); !r.is(404, "NOT_FOUND") {
		t.Errorf("the page at the app's host: %v", r)
	}
	if r := w.knock("GET", "shop.example:8080", "/ath/callback?a=b"); r.status != 303 || r.header.Get("Location") != w.public+"/ath/callback?a=b" {
		t.Errorf("the callback at the app's host: %v", r)
	}
	// A host that nobody told us of, as behind a proxy that changes Host.
	if r := w.knock("GET", "internal.example", strings.TrimPrefix(link, w.public)); r.status != 200 {
		t.Errorf("the page at a host that is no app's: %v", r)
	}
}

// proves: Z-1
func TestCallbackOfTheConsentOriginMeansTheCompletionPage(t *testing.T) {
	w := newWorld(t, apart)
	a := w.actor("completes")
	registration := a.registration("gallery", "pictures:read").with("redirect_uris", []string{w.consentURL() + "/ath/callback", "https://agent.example/cb"})
	r := w.post("/ath/agents/register", registration)
	a.clientID, a.secret = r.text("client_id"), r.text("client_secret")
	link, _ := a.authorize("gallery", []string{"pictures:read"}, "user_redirect_uri", w.consentURL()+"/ath/callback")
	if page := w.consent(w.newBrowser(), link); athCode.FindString(page.Body) == "" {
		t.Errorf("no code at %s: %s", page.URL, page.Text)
	}
}

// S-5
// proves: Z-5
func TestPagesAreForABrowsersWindowOnly(t *testing.T) {
	w := newWorld(t)
	a := w.actor("window")
	a.register("gallery", "pictures:read")
	link, _ := a.authorize("gallery", []string{"pictures:read"})
	start := strings.TrimPrefix(link, w.public)
	host := strings.TrimPrefix(w.public, "http://")
	for name, headers := range map[string][]string{
		"a script's fetch":          {"Sec-Fetch-Dest", "empty", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin"},
		"a frame":                   {"Sec-Fetch-Dest", "iframe", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "same-origin"},
		"an object":                 {"Sec-Fetch-Dest", "object", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "same-origin"},
		"an embed":                  {"Sec-Fetch-Dest", "embed", "Sec-Fetch-Mode", "no-cors"},
		"a worker's own request":    {"Sec-Fetch-Dest", "document", "Sec-Fetch-Mode", "same-origin"},
		"half of the headers":       {"Sec-Fetch-Dest", "document"},
		"the other half":            {"Sec-Fetch-Mode", "navigate"},
		"site alone":                {"Sec-Fetch-Site", "same-origin"},
		"a service worker's script": {"Service-Worker", "script", "Sec-Fetch-Dest", "serviceworker", "Sec-Fetch-Mode", "same-origin"},
	} {
		for _, target := range []string{start, "/ath/callback?state=x&code=y", "/ath/consent/done?state=x"} {
			r := w.knock("GET", host, target, append(headers, "Accept", "application/json")...)
			if !r.is(400, "INVALID_REQUEST") || r.header.Get("Set-Cookie") != "" || strings.Contains(r.raw, `name="token"`) {
				t.Errorf("%s of %s: %v", name, target, r)
			}
		}
	}
	if r := w.knock("GET", host, start, "Sec-Fetch-Dest", "document", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site"); r.status != 200 {
		t.Errorf("a window: %v", r)
	}
	if r := w.knock("GET", host, "/.well-known/ath.json", "Service-Worker", "script"); !r.is(400, "INVALID_REQUEST") {
		t.Errorf("a service worker's script: %v", r)
	}
	if r := w.knock("GET", host, "/.well-known/ath.json", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Mode", "cors"); r.status != 200 {
		t.Errorf("discovery by a script: %v", r)
	}
}

package handshake

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/provider"
)

// A bad OAuth server sends the user's browser on to a good one, with what athd
// gave it: athd's state and challenge. The good server knows the user and
// answers with a code, which must not be brought to the bad one.

// mixUp is a world with a bad provider "forge" and a good one "gallery".
func mixUp(t *testing.T, fields string, options ...option) (bad *upstream, w *world) {
	t.Helper()
	bad = startUpstream(t)
	both := func(c *settings) {
		set, err := provider.NewSet(append(c.Providers.Current().All(), bad.provider(t, c.PublicURL, fields).All()...)...)
		if err != nil {
			t.Fatal(err)
		}
		c.Providers = provider.NewProviders(set)
	}
	return bad, newWorld(t, append([]option{both}, options...)...)
}

// attack leads a user who wants to use the bad provider to the good one's
// code. It returns the last page.
func attack(t *testing.T, w *world, good url.Values, path func(u *url.URL)) *browser.Page {
	t.Helper()
	a := w.actor("victim")
	a.register("forge", "things:read")
	link, _ := a.authorize("forge", []string{"things:read"})
	b := w.newBrowser()
	var back *url.URL
	b.StopAt(func(u *url.URL) bool {
		if strings.HasPrefix(u.Path, "/ath/callback") {
			back = u
			return true
		}
		return false
	})
	w.atProvider(b, link, "alice")
	if back == nil {
		t.Fatal("the browser did not come back")
	}
	b.StopAt(func(*url.URL) bool { return false })
	q := url.Values{"state": {back.Query().Get("state")}}
	maps.Copy(q, good)
	back.RawQuery = q.Encode()
	if path != nil {
		path(back)
	}
	page, err := b.Get(t.Context(), back.String())
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// S-6
// proves: C-2
func TestAnswerOfAnotherServerIsRefused(t *testing.T) {
	code := url.Values{"code": {"good-code"}}
	for _, c := range []struct {
		name   string
		fields string
		iss    func(w *world) []string
		why    string // "": it is redeemed, as it cannot be told
	}{
		{"C-2: the good server's issuer, where the bad one has none", "", func(w *world) []string { return []string{w.issuer} }, `is the server of gallery`},
		{"C-2: the same with a slash", "", func(w *world) []string { return []string{w.issuer + "/"} }, `is the server of gallery`},
		{"C-2: the good server's issuer, where the bad one has its own", `, "issuer": "SERVER"`, func(w *world) []string { return []string{w.issuer} }, `is configured`},
		{"C-2: two issuers", "", func(w *world) []string { return []string{"https://x.example", w.issuer} }, `more than once`},
		{"an issuer that nobody knows", "", func(w *world) []string { return []string{"https://x.example"} }, ""},
		{"its own", `, "issuer": "SERVER"`, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad, w := mixUp(t, c.fields)
			if c.iss != nil {
				code["iss"] = c.iss(w)
			} else {
				code["iss"] = []string{bad.URL}
			}
			page := attack(t, w, code, nil)
			if c.why == "" {
				if page.Status != http.StatusOK || len(bad.codes) != 1 {
					t.Errorf("%d %s", page.Status, page.Text)
				}
				return
			}
			if page.Status != http.StatusBadRequest || !strings.Contains(page.Body, "STATE_MISMATCH") || len(bad.codes) != 0 {
				t.Errorf("%d %s, %d codes were sent", page.Status, page.Text, len(bad.codes))
			}
			if e := w.lastEvent("access_denied", "victim.json", "state_mismatch"); !strings.Contains(fmt.Sprint(e["upstream_error"]), c.why) {
				t.Errorf("the event: %v", e)
			}
		})
	}
}

// A server that promises to name itself is not believed where it does not.
// S-6
// proves: C-2
func TestIssuerThatIsPromisedMustBeThere(t *testing.T) {
	for _, place := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		for i, c := range []struct {
			promise, iss string
			redeemed     bool
		}{
			{"true", "", false}, {"true", "SERVER", true}, {"false", "", true}, {"true, \"issuer\": \"https://other.example\"", "", true},
		} {
			t.Run(fmt.Sprintf("C-2: case %d at %s", i, strings.TrimPrefix(place, "/.well-known/")), func(t *testing.T) {
				bad, w := mixUp(t, `, "issuer": "SERVER"`)
				bad.Config.Handler.(*http.ServeMux).HandleFunc("GET "+place, func(rw http.ResponseWriter, r *http.Request) {
					fmt.Fprintf(rw, `{"issuer": %q, "authorization_response_iss_parameter_supported": %s}`, bad.URL, c.promise)
				})
				answer := url.Values{"code": {"a-code"}}
				if c.iss != "" {
					answer.Set("iss", bad.URL)
				}
				page := attack(t, w, answer, nil)
				if (page.Status == http.StatusOK) != c.redeemed || (len(bad.codes) == 1) != c.redeemed {
					t.Errorf("%s: promise %s, iss %q: %d %s", place, c.promise, c.iss, page.Status, page.Text)
				}
				if e := w.lastEvent("access_denied", "victim.json", "state_mismatch"); !c.redeemed && !strings.Contains(fmt.Sprint(e["upstream_error"]), "promises it") {
					t.Errorf("the event: %v", e)
				}
			})
		}
	}
}

// With a redirect URI for each server, an answer at another one's is refused,
// whatever it says.
// S-6
// proves: C-2
func TestCallbackPerProvider(t *testing.T) {
	each := func(c *settings) { c.CallbackPerProvider = true }
	code := url.Values{"code": {"good-code"}}
	for _, c := range []struct {
		path     string
		status   int
		redeemed bool
	}{
		{"/ath/callback/forge", 200, true}, {"/ath/callback/gallery", 400, false}, {"/ath/callback", 400, false},
		{"/ath/callback/nobody", 404, false}, {"/ath/callback/forge/", 404, false}, {"/ath/callback/", 404, false}, {"/ath/callback/FORGE", 404, false},
	} {
		t.Run("C-2: at"+strings.ReplaceAll(c.path, "/", " "), func(t *testing.T) {
			bad, w := mixUp(t, "", each)
			asked := ""
			page := attack(t, w, code, func(u *url.URL) { asked, u.Path = u.Path, c.path })
			if asked != "/ath/callback/forge" {
				t.Fatalf("the provider was asked to answer at %s", asked)
			}
			if page.Status != c.status || (len(bad.codes) == 1) != c.redeemed {
				t.Errorf("%s: %d %s", c.path, page.Status, page.Text)
			}
		})
	}
	// And the shared one takes nothing that is below it.
	bad, w := mixUp(t, "")
	if page := attack(t, w, code, func(u *url.URL) { u.Path = "/ath/callback/forge" }); page.Status != 400 || len(bad.codes) != 0 {
		t.Errorf("below the shared callback: %d %s", page.Status, page.Text)
	}
	// On another origin it is only led on, with its path.
	_, w = mixUp(t, "", each, func(c *settings) { c.ConsentURL = "http://consent.example" })
	r := w.get("/ath/callback/forge?code=x&state=y%2Fz")
	if r.status != http.StatusSeeOther || r.header.Get("Location") != "http://consent.example/ath/callback/forge?code=x&state=y%2Fz" {
		t.Errorf("on another origin: %v", r)
	}
}

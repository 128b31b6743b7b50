package handshake

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/provider"
)

// An upstream is an OAuth server that answers as a test says. Users never see
// a page of it.
type upstream struct {
	*httptest.Server
	back   url.Values // of the answer at the callback, beside state
	status int        // of the token endpoint; 0: 200
	token  string     // its body
	codes  []string   // that it got
}

// newUpstream starts one and makes it the provider "forge", with fields added
// to providers.json.
func newUpstream(t *testing.T, fields string) (*upstream, *world) {
	t.Helper()
	u := startUpstream(t)
	return u, newWorld(t, func(c *settings) { c.Providers = provider.NewProviders(u.provider(t, c.PublicURL, fields)) })
}

func startUpstream(t *testing.T) *upstream {
	u := &upstream{back: url.Values{"code": {"upstream-code"}}, token: `{"access_token":"upstream-token","scope":"things:read"}`}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		q := url.Values{"state": {r.URL.Query().Get("state")}}
		maps.Copy(q, u.back)
		http.Redirect(w, r, r.URL.Query().Get("redirect_uri")+"?"+q.Encode(), http.StatusFound)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		u.codes = append(u.codes, r.PostFormValue("code"))
		w.Header().Set("Content-Type", "application/json")
		if u.status != 0 {
			w.WriteHeader(u.status)
		}
		fmt.Fprint(w, u.token)
	})
	u.Server = httptest.NewServer(mux)
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) provider(t *testing.T, public, fields string) *provider.Set {
	t.Helper()
	all, faults := provider.Parse("providers.json", []byte(`{"forge": {"display_name": "The Forge", "available_scopes": ["things:read", "things:write", "email"],
		"authorize_endpoint": "`+u.URL+`/authorize", "token_endpoint": "`+u.URL+`/token", "client_id": "athd", "client_secret": "client-secret-of-the-forge"`+
		strings.ReplaceAll(fields, "SERVER", u.URL)+`}}`), provider.Options{AllowHTTP: true, PublicURL: public})
	if faults != nil {
		t.Fatal(faults)
	}
	set, err := provider.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// visit registers an agent and leads its user to the provider and back.
func (u *upstream) visit(t *testing.T, w *world, name string, redirect any) (a *actor, page *browser.Page, session string) {
	t.Helper()
	a = w.actor(name)
	a.register("forge", "things:read", "things:write", "email")
	link, session := a.authorize("forge", []string{"things:read", "email"}, "user_redirect_uri", redirect)
	return a, w.atProvider(w.newBrowser(), link, "alice"), session
}

// What the provider's server said at the callback reaches the log, the event
// and the agent, bounded.
// F-6
// proves: C-5, C-6
func TestRefusalAtTheCallbackIsKept(t *testing.T) {
	for _, c := range []struct {
		name         string
		back         url.Values
		code, said   string // for the agent; in the event
		denied       bool
		redirectCode string
	}{
		{"an error with a description", url.Values{"error": {"invalid_scope"}, "error_description": {"unknown scope\n\x00 things:read"}}, "invalid_scope", "invalid_scope: unknown scope  things:read", false, "server_error"},
		{"an error alone", url.Values{"error": {"temporarily_unavailable"}}, "temporarily_unavailable", "temporarily_unavailable", false, "server_error"},
		{"an error that is none", url.Values{"error": {"<script>alert(1)</script>"}}, "malformed", "malformed", false, "server_error"},
		{"two errors", url.Values{"error": {"a", "b"}}, "malformed", "malformed", false, "server_error"},
		{"a description that holds a token", url.Values{"error": {"server_error"}, "error_description": {"eyJhbGciOiJ.x.y"}}, "server_error", "server_error: [withheld: it looks like a token]", false, "server_error"},
		{"the user's no", url.Values{"error": {"access_denied"}}, "access_denied", "access_denied", true, "access_denied"},
		{"the user's no at LinkedIn", url.Values{"error": {"user_cancelled_authorize"}, "error_description": {"The user cancelled the authorization"}}, "user_cancelled_authorize", "user_cancelled_authorize: The user cancelled the authorization", true, "access_denied"},
		{"the user's no at the log-in", url.Values{"error": {"user_cancelled_login"}}, "user_cancelled_login", "user_cancelled_login", true, "access_denied"},
		{"the user's no in a word of the operator's", url.Values{"error": {"nope.17"}}, "nope.17", "nope.17", true, "access_denied"},
		{"no answer of the user's", url.Values{"error": {"consent_required"}}, "consent_required", "consent_required", false, "server_error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, w := newUpstream(t, `, "denied_errors": ["nope.17"]`)
			u.back = c.back
			a, page, session := u.visit(t, w, "kept", "https://agent.example/cb?x=1")
			q := page.URL.Query()
			if page.URL.Host != "agent.example" || q.Get("error") != c.redirectCode || q.Get("state") != "state-of-the-agent" || !c.denied && !strings.Contains(q.Get("error_description"), c.code) {
				t.Errorf("C-6: the agent got %s", page.URL)
			}
			r := w.post("/ath/token", a.exchange(session, "x"))
			if c.denied {
				w.refusedAs(t, r, 403, "USER_DENIED")
			} else {
				w.refusedAs(t, r, 502, "OAUTH_ERROR")
			}
			if got, _ := r.details()["provider_error"].(string); got != c.code {
				t.Errorf("details.provider_error is %q, want %q", got, c.code)
			}
			if e := w.lastEvent("access_denied", "kept.json", c.redirectCode); e["upstream_error"] == nil && c.said != "" || c.said != "" && e["upstream_error"] != c.said {
				t.Errorf("the event: %v, want %q", e, c.said)
			}
			if c.said != "" && strings.Count(w.log(), `"upstream_error":`+quoted(c.said)) < 2 {
				t.Errorf("no log line has %q", c.said)
			}
			if strings.Contains(w.log(), "eyJhb") {
				t.Error("the log holds a token")
			}
		})
	}
}

func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// lastEvent returns the last event of a kind, agent and reason.
func (w *world) lastEvent(kind, agent, reason string) map[string]any {
	var found map[string]any
	for line := range strings.Lines(w.log()) {
		var e map[string]any
		if json.Unmarshal([]byte(line), &e) == nil && e["event"] == kind && e["denial_reason"] == reason && strings.HasSuffix(fmt.Sprint(e["agent_id"]), agent) {
			found = e
		}
	}
	return found
}

// F-6
func TestRefusalAtTheTokenEndpointIsKept(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		code   string // for the agent
		said   string // in log and event
	}{
		{"an OAuth error", 400, `{"error":"invalid_client","error_description":"wrong secret"}`, "invalid_client", "token endpoint: refused: invalid_client (HTTP 400)"},
		{"a page", 502, `<html>bad gateway</html>`, "token endpoint: refused", "token endpoint: refused (HTTP 502)"},
		{"no token", 200, `{"token_type":"bearer"}`, "token endpoint: the reply contains no access_token", "token endpoint: the reply contains no access_token (HTTP 200)"},
		{"the code as an error", 400, `{"error":"upstream-code"}`, "token endpoint: refused", "token endpoint: refused (HTTP 400)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, w := newUpstream(t, "")
			u.status, u.token = c.status, c.body
			a, page, session := u.visit(t, w, "kept", "https://agent.example/cb?x=1")
			if q := page.URL.Query(); q.Get("error") != "server_error" || !strings.Contains(q.Get("error_description"), c.code) {
				t.Errorf("C-6: the agent got %s", page.URL)
			}
			r := w.post("/ath/token", a.exchange(session, "x"))
			w.refusedAs(t, r, 502, "OAUTH_ERROR")
			if got := r.details()["provider_error"]; got != c.code {
				t.Errorf("details.provider_error is %v, want %q", got, c.code)
			}
			if e := w.lastEvent("access_denied", "kept.json", "server_error"); e["upstream_error"] != c.said {
				t.Errorf("the event: %v, want %q", e, c.said)
			}
			if strings.Contains(w.log(), "upstream-code") || strings.Contains(w.log(), "client-secret-of-the-forge") {
				t.Error("the log holds a code or a secret")
			}
		})
	}
}

// F-6
// proves: C-2
func TestIssuerOfTheCallbackIsTold(t *testing.T) {
	u, w := newUpstream(t, `, "issuer": "SERVER"`)
	u.back.Set("iss", u.URL+"/")
	_, page, _ := u.visit(t, w, "iss", nil)
	if page.Status != http.StatusBadRequest || !strings.Contains(page.Body, "STATE_MISMATCH") {
		t.Errorf("got %d %s", page.Status, page.Text)
	}
	want := fmt.Sprintf(`iss: it says %q, and %q is configured: they differ by the slash at the end`, u.URL+"/", u.URL)
	if e := w.lastEvent("access_denied", "iss.json", "state_mismatch"); e["upstream_error"] != want {
		t.Errorf("the event: %v", e)
	}
	if !strings.Contains(w.log(), quoted("STATE_MISMATCH")) || strings.Count(w.log(), strings.Trim(quoted(want), `"`)) < 2 {
		t.Error("no log line names both issuers")
	}
	if len(u.codes) != 0 {
		t.Error("the code was sent")
	}
}

// F-9
func TestLongCodes(t *testing.T) {
	u, w := newUpstream(t, "")
	u.back.Set("code", strings.Repeat("c/", 8<<10))
	if _, page, _ := u.visit(t, w, "long", nil); page.Status != http.StatusOK || !athCode.MatchString(page.Body) || len(u.codes) != 1 || len(u.codes[0]) != 16<<10 {
		t.Errorf("a code of 16 KiB: %d %s", page.Status, page.Text)
	}
	u.back.Set("code", strings.Repeat("c", 16<<10+1))
	a, page, session := u.visit(t, w, "longer", nil)
	if !strings.Contains(page.Text, "code that is too long") || len(u.codes) != 1 {
		t.Errorf("a code of more: %d %s", page.Status, page.Text)
	}
	r := w.post("/ath/token", a.exchange(session, "x"))
	w.refusedAs(t, r, 502, "OAUTH_ERROR")
	if r.details()["provider_error"] != "code_too_long" {
		t.Errorf("got %v", r)
	}
}

// A consent that ends without a token says in the log why.
// F-14
func TestEmptyScopeIsTold(t *testing.T) {
	for body, want := range map[string]string{
		`{"access_token":"upstream-token","scope":""}`:      "its reply's scope is empty",
		`{"access_token":"upstream-token","scope":"other"}`: "its reply's scope is other",
	} {
		u, w := newUpstream(t, "")
		u.token = body
		a, page, session := u.visit(t, w, "scopeless", nil)
		r := w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body)))
		w.refusedAs(t, r, 403, "SCOPE_NOT_APPROVED")
		if e := w.lastEvent("access_denied", "scopeless.json", "scope_not_approved"); !strings.Contains(fmt.Sprint(e["upstream_error"]), want) {
			t.Errorf("the event: %v, want %q", e, want)
		}
		if !strings.Contains(w.log(), "granted none of the scopes that were asked for: there will be no token") || strings.Count(w.log(), want) < 2 {
			t.Errorf("the log does not say %q", want)
		}
	}
	u, w := newUpstream(t, `, "empty_scope": "as_requested"`)
	u.token = `{"access_token":"upstream-token","scope":""}`
	a, page, session := u.visit(t, w, "app", nil)
	if r := w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body))); r.status != 200 || len(r.list("effective_scopes")) != 2 {
		t.Errorf("as requested: %v", r)
	}
}

// F-13
// proves: C-4
func TestScopeUnderAnotherName(t *testing.T) {
	u, w := newUpstream(t, `, "scope_aliases": {"email": "https://forge.example/auth/userinfo.email"}`)
	u.token = `{"access_token":"upstream-token","scope":"things:read https://forge.example/auth/userinfo.email"}`
	a, page, session := u.visit(t, w, "alias", nil)
	if r := w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body))); r.status != 200 || fmt.Sprint(r.list("effective_scopes")) != "[things:read email]" {
		t.Errorf("got %v", r)
	}
}

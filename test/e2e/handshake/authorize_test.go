package handshake

import (
	"bytes"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/internal/browser"
)

func consent(kind string) option { return func(c *settings) { c.Consent = kind } }

func TestAuthorizationURL(t *testing.T) {
	for _, kind := range []string{athflow.ConsentPage, athflow.ConsentRedirect, athflow.ConsentDirect} {
		t.Run("Z-2: consent "+kind, func(t *testing.T) {
			w := newWorld(t, consent(kind))
			a := w.actor("a")
			a.register("gallery", "pictures:read", "pictures:write")
			link, session := a.authorize("gallery", []string{"pictures:read"}, "resource", "https://api.gallery.example/v1")
			u, err := url.Parse(link)
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			for name, want := range map[string]string{
				"client_id": "athd", "redirect_uri": w.public + "/ath/callback", "response_type": "code", "scope": "pictures:read",
				"code_challenge_method": "S256", "resource": "https://api.gallery.example/v1",
			} {
				if q.Get(name) != want {
					t.Errorf("%s is %q, want %q", name, q.Get(name), want)
				}
			}
			if len(q.Get("code_challenge")) != 43 || len(q.Get("state")) < 22 || q.Get("state") == "state-of-the-agent" {
				t.Errorf("code_challenge %q, state %q", q.Get("code_challenge"), q.Get("state"))
			}
			if !strings.HasPrefix(session, "ath_sess_") {
				t.Errorf("ath_session_id %q", session)
			}
			wantHost := w.public
			if kind == athflow.ConsentDirect {
				wantHost = w.issuer
			}
			if got := u.Scheme + "://" + u.Host; got != wantHost {
				t.Errorf("Z-3: the URL leads to %s, want %s", got, wantHost)
			}
		})
	}
}

// The checks are made in the protocol's order: of two faults the earlier one
// is told.
func TestAuthorizeOrder(t *testing.T) {
	w := newWorld(t, policy(approval.Policy{Default: approval.Deny, Rules: []approval.Rule{
		{Scopes: globs(t, "pictures:read"), Action: approval.Approve}, {Providers: globs(t, "shop"), Action: approval.Review},
	}}))
	a, pending := w.actor("order"), w.actor("pending")
	a.register("gallery", "pictures:read", "pictures:write")
	pending.register("shop", "products:read")
	other := w.actor("other").attest(w.public)
	// Each step fixes one fault of the request before it.
	b := body{"client_id": nil, "state": nil, "user_redirect_uri": "https://evil.example/", "provider_id": "shop", "scopes": []string{"pictures:write"}, "agent_attestation": "x.y.z"}
	steps := []struct {
		name   string
		change []any
		status int
		code   string
	}{
		{"shape: no client_id", nil, 400, "AGENT_NOT_REGISTERED"},
		{"shape: no state", []any{"client_id", "ath_unknown"}, 400, "STATE_MISMATCH"},
		{"known", []any{"state", "s"}, 403, "AGENT_NOT_REGISTERED"},
		{"approved", []any{"client_id", pending.clientID}, 403, "AGENT_UNAPPROVED"},
		{"redirect", []any{"client_id", a.clientID}, 400, "INVALID_ATTESTATION"},
		{"attestation", []any{"user_redirect_uri", w.public + "/ath/callback"}, 401, "INVALID_ATTESTATION"},
		{"attestation: by another's key", []any{"agent_attestation", other}, 401, "INVALID_ATTESTATION"},
		{"provider", []any{"agent_attestation", a.attest(w.public)}, 403, "PROVIDER_NOT_APPROVED"},
		{"scopes", []any{"agent_attestation", a.attest(w.public), "provider_id", "gallery"}, 403, "SCOPE_NOT_APPROVED"},
	}
	for _, s := range steps {
		b = b.with(s.change...)
		t.Run("authorize, "+s.name, func(t *testing.T) {
			r := w.post("/ath/authorize", b)
			w.refusedAs(t, r, s.status, s.code)
			if s.code == "SCOPE_NOT_APPROVED" && !slices.Equal(r.details()["unapproved_scopes"].([]any), []any{"pictures:write"}) {
				t.Errorf("details: %v", r.details())
			}
		})
	}
	if r := w.post("/ath/authorize", b.with("agent_attestation", a.attest(w.public), "scopes", []string{"pictures:read"})); r.status != 200 {
		t.Errorf("with nothing wrong: %d %s", r.status, r.raw)
	}
}

// proves: Z-1
func TestRedirectURIs(t *testing.T) {
	w := newWorld(t)
	a, bare := w.actor("redirects"), w.actor("bare")
	a.register("gallery", "pictures:read") // registers the callback, https://agent.example/cb?x=1 and http://127.0.0.1/cb
	r := w.post("/ath/agents/register", bare.registration("gallery", "pictures:read").with("redirect_uris", nil))
	bare.clientID = r.text("client_id")
	named := w.actor("named")
	r = w.post("/ath/agents/register", named.registration("gallery", "pictures:read").with("redirect_uris",
		[]string{"http://localhost/callback", "http://app.localhost/callback", "http://[::1]:1234/callback"}))
	named.clientID = r.text("client_id")
	for _, c := range []struct {
		actor *actor
		uri   string
		ok    bool
	}{
		{a, "https://agent.example/cb?x=1", true},
		{a, w.public + "/ath/callback", true},
		{a, "http://127.0.0.1/cb", true},
		{a, "http://127.0.0.1:4711/cb", true},
		{a, "https://agent.example/cb", false},
		{a, "https://agent.example/cb?x=1&y=2", false},
		{a, "https://agent.example:8443/cb?x=1", false},
		{a, "https://AGENT.example/cb?x=1", false},
		{a, "http://127.0.0.1:4711/cb2", false},
		{a, "http://127.0.0.1:4711@evil.example/cb", false},
		{a, "http://127.0.0.1.evil.example/cb", false},
		{a, "https://127.0.0.1/cb", false},
		{a, "http://localhost:4711/cb", false},
		{a, "https://evil.example/", false},
		{named, "http://localhost/callback", true},
		{named, "http://localhost:53123/callback", true}, // F-21
		{named, "http://localhost:8/callback", true},
		{named, "http://localhost:0/callback", false},
		{named, "http://localhost:99999/callback", false},
		{named, "http://localhost:053123/callback", false},
		{named, "http://localhost:/callback", false},
		{named, "http://localhost:53123/callback/", false},
		{named, "http://localhost:53123/callback?x", false},
		{named, "http://localhost.evil.com/callback", false},
		{named, "http://localhost:53123@evil.com/callback", false},
		{named, "http://localhost.:53123/callback", false},
		{named, "http://127.0.0.1:53123/callback", false},
		{named, "https://localhost:53123/callback", false},
		{named, "http://app.localhost/callback", true},
		{named, "http://app.localhost:53123/callback", false},
		{named, "http://[::1]:53123/callback", true},
		{bare, w.public + "/ath/callback", false},
		{bare, "https://agent.example/cb", false},
	} {
		r := w.post("/ath/authorize", c.actor.authorization("gallery", "pictures:read").with("user_redirect_uri", c.uri))
		if c.ok != (r.status == 200) || !c.ok && (!r.is(400, "INVALID_ATTESTATION") || r.details()["field"] != "user_redirect_uri") {
			t.Errorf("Z-1: %s: %d %s", c.uri, r.status, r.code())
		}
	}
	if r := w.post("/ath/authorize", bare.authorization("gallery", "pictures:read")); r.status != 200 {
		t.Errorf("Z-1: without a redirect: %d %s", r.status, r.raw)
	}
}

func TestRedirectToTheAgent(t *testing.T) {
	w := newWorld(t)
	a := w.actor("redirected")
	a.register("gallery", "pictures:read")
	t.Run("C-6: with a code", func(t *testing.T) {
		link, session := a.authorize("gallery", []string{"pictures:read"}, "user_redirect_uri", "https://agent.example/cb?x=1")
		page := w.consent(w.newBrowser(), link)
		q := page.URL.Query()
		if !page.Stopped || page.URL.Host != "agent.example" || q.Get("x") != "1" {
			t.Fatalf("the browser is at %v", page.URL)
		}
		want := map[string]string{"state": "state-of-the-agent", "ath_session_id": session, "session_id": session, "success": "true", "iss": w.public}
		for name, v := range want {
			if q.Get(name) != v {
				t.Errorf("%s is %q, want %q", name, q.Get(name), v)
			}
		}
		if r := w.post("/ath/token", a.exchange(session, q.Get("code"))); r.status != 200 {
			t.Errorf("its code: %d %s", r.status, r.raw)
		}
	})
	t.Run("C-5, C-6: with an error", func(t *testing.T) {
		link, session := a.authorize("gallery", []string{"pictures:read"}, "user_redirect_uri", "https://agent.example/cb?x=1")
		b := w.newBrowser()
		page := w.atProvider(b, link, "alice")
		page, err := b.Submit(t.Context(), page.Form().Click("Deny"))
		if err != nil {
			t.Fatal(err)
		}
		q := page.URL.Query()
		if q.Get("error") != "access_denied" || q.Get("error_description") == "" || q.Get("state") != "state-of-the-agent" || q.Get("ath_session_id") != session || q.Has("code") {
			t.Errorf("%v", page.URL)
		}
		w.refusedAs(t, w.post("/ath/token", a.exchange(session, "x")), 403, "USER_DENIED")
	})
	t.Run("C-5: denied on our page", func(t *testing.T) {
		link, session := a.authorize("gallery", []string{"pictures:read"})
		b := w.newBrowser()
		page, err := b.Get(t.Context(), link)
		if err == nil {
			page, err = b.Submit(t.Context(), page.Form().Click("Deny"))
		}
		if err != nil || page.Status != 200 || !strings.Contains(page.Text, "not allowed") {
			t.Fatalf("%v %v", page, err)
		}
		w.refusedAs(t, w.post("/ath/token", a.exchange(session, "x")), 403, "USER_DENIED")
		if page, _ := b.Get(t.Context(), link); page.Status != 400 || !strings.Contains(page.Body, "STATE_MISMATCH") {
			t.Errorf("C-1: the link still works: %d", page.Status)
		}
	})
}

func TestCallbackIsBoundToItsBrowser(t *testing.T) {
	w := newWorld(t)
	a := w.actor("bound")
	a.register("gallery", "pictures:read")
	// begin stops before the provider's answer comes back, and returns it.
	begin := func(t *testing.T, scopes ...string) (b *browser.Browser, back, session string) {
		t.Helper()
		link, session := a.authorize("gallery", []string{"pictures:read"})
		b = w.newBrowser()
		stopped := false
		b.StopAt(func(u *url.URL) bool { return !stopped && u.Path == "/ath/callback" })
		page := w.consent(b, link)
		stopped = true
		if !page.Stopped {
			t.Fatalf("the browser is at %v: %s", page.URL, page.Text)
		}
		return b, page.URL.String(), session
	}
	t.Run("Z-3: another browser is refused and consumes nothing", func(t *testing.T) {
		b, back, session := begin(t)
		other, err := w.newBrowser().Get(t.Context(), back)
		if err != nil || other.Status != 400 || !strings.Contains(other.Body, "STATE_MISMATCH") {
			t.Fatalf("%v %v", other, err)
		}
		page, err := b.Get(t.Context(), back)
		if err != nil || page.Status != 200 {
			t.Fatalf("its own browser: %v %v", page, err)
		}
		if r := w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body))); r.status != 200 {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
	t.Run("C-1: a callback is accepted once", func(t *testing.T) {
		b, back, session := begin(t)
		first, err := b.Get(t.Context(), back)
		if err != nil || first.Status != 200 {
			t.Fatalf("%v %v", first, err)
		}
		if r := w.post("/ath/token", a.exchange(session, athCode.FindString(first.Body))); r.status != 200 {
			t.Fatalf("%v", r)
		}
		page, err := b.Get(t.Context(), back)
		if err != nil || page.Status != 400 || !strings.Contains(page.Body, "STATE_MISMATCH") {
			t.Errorf("%v %v", page, err)
		}
	})
	t.Run("C-1, Z-4: expired", func(t *testing.T) {
		w := newWorld(t)
		a := w.actor("late")
		a.register("gallery", "pictures:read")
		through, consented := a.authorize("gallery", []string{"pictures:read"})
		code := athCode.FindString(w.consent(w.newBrowser(), through).Body)
		link, session := a.authorize("gallery", []string{"pictures:read"})
		w.pass(10*time.Minute + time.Second)
		page, err := w.newBrowser().Get(t.Context(), link)
		if err != nil || page.Status != 400 || !strings.Contains(page.Body, "SESSION_EXPIRED") {
			t.Errorf("Z-4: %v %v", page, err)
		}
		w.refusedAs(t, w.post("/ath/token", a.exchange(session, "x")), 400, "SESSION_EXPIRED")
		w.refusedAs(t, w.post("/ath/token", a.exchange(consented, code)), 400, "SESSION_EXPIRED")
	})
	t.Run("C-1: unknown state", func(t *testing.T) {
		for _, state := range []string{"", "x", ath.NewState(ath.NewTag()).Secret().Reveal()} {
			page, err := w.newBrowser().Get(t.Context(), w.public+"/ath/callback?code=x&state="+state)
			if err != nil || page.Status != 400 || !strings.Contains(page.Body, "STATE_MISMATCH") {
				t.Errorf("%q: %v %v", state, page, err)
			}
		}
	})
	t.Run("C-2: another issuer's answer is not redeemed", func(t *testing.T) {
		b, back, _ := begin(t)
		redeemed := w.oauth.Stats()
		u, _ := url.Parse(back)
		q := u.Query()
		q.Set("iss", "https://evil.example")
		u.RawQuery = q.Encode()
		page, err := b.Get(t.Context(), u.String())
		if err != nil || page.Status != 400 || !strings.Contains(page.Body, "STATE_MISMATCH") {
			t.Errorf("%v %v", page, err)
		}
		if w.oauth.Stats() != redeemed {
			t.Error("the code was sent to the provider")
		}
		if page, err := b.Get(t.Context(), back); err != nil || page.Status != 200 {
			t.Errorf("the true answer: %v %v", page, err)
		}
	})
	t.Run("C-1: a parameter given twice", func(t *testing.T) {
		b, back, _ := begin(t)
		page, err := b.Get(t.Context(), back+"&code=another")
		if err != nil || page.Status != 400 {
			t.Errorf("%v %v", page, err)
		}
	})
	t.Run("Z-5: the provider's URL, built by the agent, does not pass by our page", func(t *testing.T) {
		link, _ := a.authorize("gallery", []string{"pictures:read"})
		_, query, _ := strings.Cut(link, "?")
		b := w.newBrowser()
		if _, err := b.Get(t.Context(), link); err != nil { // the cookie of the page, but no decision
			t.Fatal(err)
		}
		page := w.consent(b, w.issuer+"/authorize?"+query)
		if page.Status != 400 || !strings.Contains(page.Body, "STATE_MISMATCH") {
			t.Errorf("%d %s", page.Status, page.Text)
		}
	})
	t.Run("Z-3, C-3: a code got with the link's own query does not fit in the user's browser", func(t *testing.T) {
		b, back, session := begin(t)
		u, _ := url.Parse(back)
		link := w.linkOf(b)
		thief := w.newBrowser()
		thief.StopAt(func(u *url.URL) bool { return u.Path == "/ath/callback" })
		_, query, _ := strings.Cut(link, "?")
		page := w.atProvider(thief, w.issuer+"/authorize?"+query, "bob")
		page, err := thief.Submit(t.Context(), page.Form().Click("Allow"))
		if err != nil || page.URL.Query().Get("code") == "" {
			t.Fatalf("%v %v", page, err)
		}
		if page.URL.Query().Get("state") == u.Query().Get("state") {
			t.Error("the link shows the state that the user's browser takes to the provider")
		}
		q := u.Query()
		q.Set("code", page.URL.Query().Get("code"))
		u.RawQuery = q.Encode()
		if page, err := b.Get(t.Context(), u.String()); err != nil || page.Status != 502 {
			t.Fatalf("%v %v", page, err)
		}
		w.refusedAs(t, w.post("/ath/token", a.exchange(session, "x")), 502, "OAUTH_ERROR")
	})
	t.Run("C-1: HEAD spends nothing", func(t *testing.T) {
		b, back, _ := begin(t)
		req, _ := http.NewRequest("HEAD", back, nil)
		for _, c := range b.Cookies(req.URL) {
			req.AddCookie(c)
		}
		if r := w.send(req); r.status != 405 {
			t.Errorf("HEAD: %d", r.status)
		}
		if page, err := b.Get(t.Context(), back); err != nil || page.Status != 200 {
			t.Errorf("GET after it: %v %v", page, err)
		}
	})
	t.Run("C-3: a code that the provider does not redeem", func(t *testing.T) {
		b, back, session := begin(t)
		u, _ := url.Parse(back)
		q := u.Query()
		q.Set("code", "forged")
		u.RawQuery = q.Encode()
		page, err := b.Get(t.Context(), u.String())
		if err != nil || page.Status != 502 || !strings.Contains(page.Body, "OAUTH_ERROR") {
			t.Errorf("%v %v", page, err)
		}
		w.refusedAs(t, w.post("/ath/token", a.exchange(session, "x")), 502, "OAUTH_ERROR")
	})
}

// proves: Z-3, Z-5
func TestOnlyOurPageDecides(t *testing.T) {
	w := newWorld(t)
	a := w.actor("decide")
	a.register("gallery", "pictures:read")
	link, _ := a.authorize("gallery", []string{"pictures:read"})
	page, err := w.newBrowser().Get(t.Context(), link)
	if err != nil {
		t.Fatal(err)
	}
	form := page.Form().Press("decision", "allow").Sent()
	post := func(change func(url.Values), headers ...string) reply {
		v := url.Values{}
		for k, x := range form {
			v[k] = slices.Clone(x)
		}
		change(v)
		req, _ := http.NewRequest("POST", w.public+"/ath/consent/decide", strings.NewReader(v.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Accept", "application/json")
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		return w.send(req)
	}
	// Without the browser's cookie nothing of the form helps.
	w.refusedAs(t, post(func(url.Values) {}), 400, "STATE_MISMATCH")
	w.refusedAs(t, post(func(v url.Values) { v.Set("decision", "deny") }), 400, "STATE_MISMATCH")
	// With a cookie of this session, but of another browser than the form's.
	resp, err := http.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	cookie := resp.Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || !strings.HasPrefix(cookie.Name, ath.CookiePrefix) {
		t.Errorf("Z-3: the cookie is %v", cookie)
	}
	text := cookie.Name + "=" + cookie.Value
	w.refusedAs(t, post(func(url.Values) {}, "Cookie", text), 400, "STATE_MISMATCH")
	// A cookie that claims to be further than it is.
	forged := cookie.Name + "=" + strings.Replace(cookie.Value, ".s.", ".a.", 1)
	w.refusedAs(t, post(func(url.Values) {}, "Cookie", forged), 400, "STATE_MISMATCH")
	// With everything of the form's own browser, but sent by a page of a neighbour.
	resp, err = http.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	text, shown := resp.Cookies()[0].Name+"="+resp.Cookies()[0].Value, new(bytes.Buffer)
	shown.ReadFrom(resp.Body)
	resp.Body.Close()
	token := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(shown.String())
	if token == nil {
		t.Fatal("the page has no token")
	}
	own := func(v url.Values) { v.Set("token", token[1]) }
	for _, site := range []string{"cross-site", "same-site", "none"} {
		w.refusedAs(t, post(own, "Cookie", text, "Sec-Fetch-Site", site), 400, "STATE_MISMATCH")
	}
	if r := post(own, "Cookie", text, "Sec-Fetch-Site", "same-origin"); r.status != http.StatusOK {
		t.Errorf("the page's own answer: %d %s", r.status, r.raw)
	}
}

// A preview of the link, by whatever program, changes nothing.
// proves: Z-3
func TestPreviewsAreHarmless(t *testing.T) {
	w := newWorld(t)
	a := w.actor("preview")
	a.register("gallery", "pictures:read")
	link, session := a.authorize("gallery", []string{"pictures:read"})
	for _, method := range []string{"GET", "HEAD", "GET"} {
		req, _ := http.NewRequest(method, link, nil)
		if r := w.send(req); r.status != 200 {
			t.Errorf("Z-3: %s: %d", method, r.status)
		}
	}
	page := w.consent(w.newBrowser(), link)
	if r := w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body))); r.status != 200 {
		t.Errorf("Z-3: after previews: %d %s", r.status, r.raw)
	}
}

func TestConsentRedirectAndDirect(t *testing.T) {
	for _, kind := range []string{athflow.ConsentRedirect, athflow.ConsentDirect} {
		t.Run("Z-5: "+kind, func(t *testing.T) {
			w := newWorld(t, consent(kind))
			a := w.actor("kind")
			a.register("gallery", "pictures:read")
			link, session := a.authorize("gallery", []string{"pictures:read"})
			b := w.newBrowser()
			page, err := b.Get(t.Context(), link)
			if err == nil {
				page, err = b.Submit(t.Context(), page.Form().Fill("username", "alice").Fill("password", "wonderland"))
			}
			if err == nil {
				page, err = b.Submit(t.Context(), page.Form().Click("Allow"))
			}
			if err != nil {
				t.Fatal(err)
			}
			if r := w.post("/ath/token", a.exchange(session, athCode.FindString(page.Body))); r.status != 200 {
				t.Errorf("%d %s", r.status, r.raw)
			}
			if kind == athflow.ConsentRedirect {
				link, _ := a.authorize("gallery", []string{"pictures:read"})
				_, query, _ := strings.Cut(link, "?")
				page := w.consent(w.newBrowser(), w.issuer+"/authorize?"+query)
				if page.Status != 400 {
					t.Errorf("Z-3: a browser that did not pass by: %d %s", page.Status, page.Text)
				}
			}
		})
	}
}

// A page that refuses leaves nothing in the browser.
// proves: Z-3
func TestARefusalSetsNoCookie(t *testing.T) {
	w := newWorld(t)
	a := w.actor("a")
	a.register("gallery", "pictures:read")
	link, _ := a.authorize("gallery", []string{"pictures:read"})
	path := strings.TrimPrefix(link, w.public)
	if r := w.ask("GET", path, ""); r.status != http.StatusOK || r.header.Get("Set-Cookie") == "" {
		t.Fatalf("%d %v", r.status, r.header)
	}
	w.operate("POST", a.adminPath()+"/suspend", "")
	if r := w.ask("GET", path, ""); r.status != http.StatusForbidden || r.header.Get("Set-Cookie") != "" {
		t.Errorf("%d %v", r.status, r.header)
	}
}

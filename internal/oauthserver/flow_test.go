package oauthserver_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/internal/oauthserver"
)

func TestCodeFlowGivesATokenForWhatTheUserTicked(t *testing.T) {
	tests := []struct {
		name      string
		scope     string
		unticked  []string
		wantScope string
		refresh   bool
		idToken   bool
	}{
		{"all", "products:read cart:write", nil, "products:read cart:write", false, false},
		{"a subset", "products:read cart:write orders:read", []string{"cart:write"}, "products:read orders:read", false, false},
		{"offline_access brings a refresh token", "products:read offline_access", nil, "products:read offline_access", true, false},
		{"offline_access unticked brings none", "products:read offline_access", []string{"offline_access"}, "products:read", false, false},
		{"openid brings an ID token", "products:read openid", nil, "products:read openid", false, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nil)
			got := w.granted(test.scope, test.unticked...)
			if got.Scope != test.wantScope || got.Type != "Bearer" || got.ExpiresIn != 3600 {
				t.Errorf("reply = %s", got.body)
			}
			if (got.Refresh != "") != test.refresh || (got.IDToken != "") != test.idToken {
				t.Errorf("refresh token or ID token: %s", got.body)
			}
			if cc := got.header.Get("Cache-Control"); !strings.Contains(cc, "no-store") {
				t.Errorf("Cache-Control = %q", cc)
			}
			w.wantLive(got.Access, test.wantScope)
			if !slices.Contains(w.Issued(), got.Access) {
				t.Error("Issued does not name the access token")
			}
			if n := w.Stats().CodeRedemptions; n != 1 {
				t.Errorf("CodeRedemptions = %d", n)
			}
		})
	}
}

func TestCallbackCarriesStateAndIssuer(t *testing.T) {
	w := newWorld(t, nil)
	back := w.submit(w.login(w.open(newRequest("products:read"))).Form().Press("decision", "allow"))
	q := back.URL.Query()
	if q.Get("state") != "the state" || q.Get("iss") != w.issuer || q.Get("code") == "" {
		t.Errorf("callback = %s", back.URL)
	}
}

func TestRefusalsComeBackAsAccessDenied(t *testing.T) {
	tests := []struct {
		name  string
		press func(*browser.Form) *browser.Form
	}{
		{"deny", func(f *browser.Form) *browser.Form { return f.Press("decision", "deny") }},
		{"allow with nothing ticked", func(f *browser.Form) *browser.Form {
			return f.Untick("scope", "products:read").Press("decision", "allow")
		}},
		{"no button", func(f *browser.Form) *browser.Form { return f }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nil)
			form := w.login(w.open(newRequest("products:read"))).Form()
			q := w.submit(test.press(form)).URL.Query()
			if q.Get("error") != "access_denied" || q.Get("state") != "the state" || q.Has("code") {
				t.Errorf("callback = %v", q)
			}
			// The session is over: its page can not be submitted again.
			if page := w.submit(form.Press("decision", "allow")); page.Stopped || page.Status != http.StatusBadRequest {
				t.Errorf("second submission: %d %s", page.Status, page.URL)
			}
		})
	}
}

func TestAuthorizationRequestsThatAreRefused(t *testing.T) {
	tests := []struct {
		name      string
		change    func(url.Values)
		wantError string // at the client; empty: a page, since nobody may be redirected
	}{
		{"without PKCE", func(v url.Values) { v.Del("code_challenge"); v.Del("code_challenge_method") }, "invalid_request"},
		{"with plain PKCE", func(v url.Values) { v.Set("code_challenge_method", "plain") }, "invalid_request"},
		{"unknown scope", func(v url.Values) { v.Set("scope", "products:read admin") }, "invalid_scope"},
		{"no response type", func(v url.Values) { v.Del("response_type") }, "invalid_request"},
		{"prompt none", func(v url.Values) { v.Set("prompt", "none") }, "login_required"},
		{"unknown client", func(v url.Values) { v.Set("client_id", "nobody") }, ""},
		{"unregistered redirect", func(v url.Values) { v.Set("redirect_uri", "http://127.0.0.1:1/other") }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nil)
			r := newRequest("products:read")
			test.change(r.Values)
			page := w.open(r)
			if test.wantError == "" {
				if page.Stopped || page.Status < 400 || len(page.Forms) != 0 {
					t.Errorf("page = %d %s", page.Status, page.Text)
				}
				return
			}
			if got := page.URL.Query().Get("error"); !page.Stopped || got != test.wantError {
				t.Errorf("error = %q, want %q (%d %s)", got, test.wantError, page.Status, page.URL)
			}
		})
	}
}

func TestWrongPasswords(t *testing.T) {
	w := newWorld(t, nil)
	page := w.open(newRequest("products:read"))
	for range 4 {
		page = w.submit(page.Form().Fill("username", "alice").Fill("password", "looking-glass"))
		if page.Stopped || !strings.Contains(page.Text, "do not fit") {
			t.Fatalf("page = %s", page.Text)
		}
	}
	page = w.submit(page.Form().Fill("username", "alice").Fill("password", "looking-glass"))
	if page.URL.Query().Get("error") != "access_denied" {
		t.Errorf("the fifth ends at %s", page.URL)
	}
}

func TestSessionBelongsToTheBrowserItBeganIn(t *testing.T) {
	w := newWorld(t, nil)
	page := w.open(newRequest("products:read"))
	stranger := browser.New()
	t.Cleanup(stranger.Close)
	other, err := stranger.Submit(t.Context(), page.Form().Fill("username", "alice").Fill("password", "wonderland"))
	if err != nil || other.Status != http.StatusForbidden {
		t.Fatalf("another browser: %v %v", other, err)
	}
	if consent := w.login(page); !strings.Contains(consent.Text, "The Shop's Gateway asks for access") {
		t.Errorf("its own browser: %s", consent.Text)
	}
}

func TestCodesAreRedeemedOnceByWhoAskedForThem(t *testing.T) {
	tests := []struct {
		name   string
		change func(url.Values)
		status int
		want   string
	}{
		{"another verifier", func(v url.Values) { v.Set("code_verifier", strings.Repeat("x", 43)) }, 400, "invalid_grant"},
		{"no verifier", func(v url.Values) { v.Del("code_verifier") }, 400, "invalid_grant"},
		{"another redirect URI", func(v url.Values) { v.Set("redirect_uri", "http://127.0.0.1:1/x") }, 400, "invalid_grant"},
		{"another client", func(v url.Values) { v.Set("client_id", "other"); v.Set("client_secret", "another-secret") }, 400, "invalid_grant"},
		{"wrong secret", func(v url.Values) { v.Set("client_secret", "guess") }, 401, "invalid_client"},
		{"no secret", func(v url.Values) { v.Del("client_secret") }, 401, "invalid_client"},
		{"unknown code", func(v url.Values) { v.Set("code", "code_guess") }, 400, "invalid_grant"},
		{"another grant type", func(v url.Values) { v.Set("grant_type", "password") }, 400, "unsupported_grant_type"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nil)
			r := newRequest("products:read")
			form := url.Values{
				"grant_type": {"authorization_code"}, "code": {w.code(r)}, "redirect_uri": {redirectURI},
				"code_verifier": {r.verifier}, "client_id": {clientID}, "client_secret": {clientSecret},
			}
			test.change(form)
			if got := w.post("/token", form, nil); got.status != test.status || got.Error != test.want || got.Access != "" {
				t.Errorf("reply = %d %s", got.status, got.body)
			}
			if n := w.Stats().CodeRedemptions; n != 0 {
				t.Errorf("CodeRedemptions = %d", n)
			}
		})
	}
	t.Run("a second redemption ends the first one's tokens", func(t *testing.T) {
		w := newWorld(t, nil)
		r := newRequest("products:read offline_access")
		code := w.code(r)
		first := w.redeem(code, r.verifier)
		w.wantLive(first.Access, "")
		if second := w.redeem(code, r.verifier); second.status != 400 || second.Error != "invalid_grant" {
			t.Errorf("second = %d %s", second.status, second.body)
		}
		w.wantDead(first.Access)
		if got := w.refresh(first.Refresh); got.Error != "invalid_grant" {
			t.Errorf("refresh = %d %s", got.status, got.body)
		}
	})
}

func TestRefreshRotates(t *testing.T) {
	w := newWorld(t, nil)
	first := w.granted("products:read cart:write offline_access", "cart:write")
	second := w.refresh(first.Refresh)
	if second.status != 200 || second.Refresh == "" || second.Refresh == first.Refresh || second.Access == first.Access {
		t.Fatalf("refresh = %d %s", second.status, second.body)
	}
	if second.Scope != "products:read offline_access" {
		t.Errorf("scope = %q: a refresh does not widen the consent", second.Scope)
	}
	w.wantLive(second.Access, "products:read offline_access")
	third := w.refresh(second.Refresh)
	if third.status != 200 {
		t.Fatalf("second refresh = %d %s", third.status, third.body)
	}
	if n := w.Stats().Refreshes; n != 2 {
		t.Errorf("Refreshes = %d", n)
	}

	t.Run("a spent refresh token ends the whole line", func(t *testing.T) {
		if got := w.refresh(first.Refresh); got.status != 400 || got.Error != "invalid_grant" {
			t.Errorf("reuse = %d %s", got.status, got.body)
		}
		for _, token := range []string{first.Access, second.Access, third.Access} {
			w.wantDead(token)
		}
		if got := w.refresh(third.Refresh); got.status != 400 || got.Error != "invalid_grant" {
			t.Errorf("newest after reuse = %d %s", got.status, got.body)
		}
		if n := w.Stats().RefreshReuses; n != 1 {
			t.Errorf("RefreshReuses = %d", n)
		}
	})
}

func TestOfTwoRefreshesAtOnceOneWins(t *testing.T) {
	w := newWorld(t, nil)
	first := w.granted("products:read offline_access")
	const racers = 8
	replies := make([]tokens, racers)
	var race sync.WaitGroup
	for i := range racers {
		race.Go(func() { replies[i] = w.refresh(first.Refresh) })
	}
	race.Wait()
	won := 0
	for _, reply := range replies {
		if reply.status == http.StatusOK {
			won++
			w.wantDead(reply.Access) // the losers' reuse has ended the line
		}
	}
	if won != 1 {
		t.Errorf("%d refreshes won, want 1", won)
	}
}

func TestRevocation(t *testing.T) {
	t.Run("of an access token ends that one", func(t *testing.T) {
		w := newWorld(t, nil)
		first := w.granted("products:read offline_access")
		second := w.refresh(first.Refresh)
		if status := w.revoke(second.Access); status != 200 {
			t.Fatalf("status = %d", status)
		}
		w.wantDead(second.Access)
		w.wantLive(first.Access, "")
	})
	t.Run("of a refresh token ends all of the line", func(t *testing.T) {
		w := newWorld(t, nil)
		got := w.granted("products:read offline_access")
		if status := w.revoke(got.Refresh); status != 200 {
			t.Fatalf("status = %d", status)
		}
		w.wantDead(got.Access)
		if again := w.refresh(got.Refresh); again.Error != "invalid_grant" {
			t.Errorf("refresh = %d %s", again.status, again.body)
		}
		if n := w.Stats().Revocations; n != 1 {
			t.Errorf("Revocations = %d", n)
		}
	})
	t.Run("of an unknown token is 200 (RFC 7009, section 2.2)", func(t *testing.T) {
		if status := newWorld(t, nil).revoke("user_guess"); status != 200 {
			t.Errorf("status = %d", status)
		}
	})
	t.Run("wants the client's secret", func(t *testing.T) {
		w := newWorld(t, nil)
		got := w.granted("products:read")
		reply := w.post("/revoke", url.Values{"token": {got.Access}, "client_id": {clientID}, "client_secret": {"guess"}}, nil)
		if reply.status != 401 {
			t.Errorf("status = %d", reply.status)
		}
		w.wantLive(got.Access, "")
	})
	t.Run("is only for one's own tokens", func(t *testing.T) {
		w := newWorld(t, nil)
		got := w.granted("products:read")
		w.post("/revoke", url.Values{"token": {got.Access}, "client_id": {"other"}, "client_secret": {"another-secret"}}, nil)
		w.wantLive(got.Access, "")
	})
}

func TestAccessTokensExpire(t *testing.T) {
	w := newWorld(t, func(c *oauthserver.Config) { c.AccessTokenTTL = 5 * time.Minute })
	got := w.granted("products:read")
	if got.ExpiresIn != 300 {
		t.Errorf("expires_in = %d", got.ExpiresIn)
	}
	w.skew.Store(int64(4 * time.Minute))
	w.wantLive(got.Access, "products:read")
	w.skew.Store(int64(6 * time.Minute))
	w.wantDead(got.Access)
	if status, _ := w.get("/userinfo", got.Access); status != 401 {
		t.Errorf("userinfo = %d", status)
	}
}

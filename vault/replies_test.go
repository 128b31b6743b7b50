package vault_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

func says(status int, body string) func(int, http.ResponseWriter, *http.Request) bool {
	return func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(status)
		w.Write([]byte(body))
		return true
	}
}

// What a provider says when it does not refresh, as real servers do.
//
// proves: P-6
func TestWhatEndsAGrantAndWhatDoesNot(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, map[string]any{"refresh_denied_errors": []string{"bad_refresh_token"}}, nil)
	r := w.replicas[0]
	for _, tt := range []struct {
		name     string
		answer   func(int, http.ResponseWriter, *http.Request) bool
		condemns bool
	}{
		{"invalid_grant", says(400, `{"error":"invalid_grant","error_description":"Session not active"}`), true},
		{"invalid_grant with 401", says(401, `{"error":"invalid_grant"}`), true},
		{"invalid_grant with 200", says(200, `{"error":"invalid_grant"}`), true},
		{"another code of refresh_denied_errors", says(200, `{"error":"bad_refresh_token"}`), true},
		{"invalid_client", says(401, `{"error":"invalid_client"}`), false},
		{"unauthorized_client", says(401, `{"error":"unauthorized_client"}`), false},
		{"not_allowed", says(400, `{"error":"not_allowed"}`), false},
		{"invalid_scope", says(400, `{"error":"invalid_scope"}`), false},
		{"invalid_request", says(400, `{"error":"invalid_request"}`), false},
		{"another error with 200", says(200, `{"error":"server_error"}`), false},
		{"invalid_grant with 500", says(500, `{"error":"invalid_grant"}`), false},
		{"500", says(500, `{"error":"server_error"}`), false},
		{"503 with HTML", says(503, `<html>Sorry</html>`), false},
		{"200 with HTML", says(200, `<html>Log in</html>`), false},
		{"403 with HTML", says(403, `<html>invalid_grant</html>`), false},
		{"429", says(429, `{"error":"invalid_grant"}`), false},
		{"a token that no header may hold", says(200, `{"access_token":"a\nb","token_type":"Bearer"}`), false},
		{"nothing", func(int, http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := w.connect(-time.Second)
			w.endpoint.Answers(tt.answer)
			defer w.endpoint.Answers(nil)
			before := w.endpoint.Calls()
			d := r.ask(c)
			e := d.Refusal()
			if tt.condemns {
				if d.Reason() != authz.ReauthorizationRequired || e.Status() != 401 || e.Code != ath.TokenInvalid || e.Details["reason"] != "reauthorization_required" {
					t.Fatalf("%s: %v", d.Reason(), e)
				}
				if got := w.stored(c); got.RefreshStatus.Refused.IsZero() || !got.Refresh.Equal(c.first.Refresh.Reveal()) {
					t.Errorf("refused %v, or the token is gone", got.RefreshStatus.Refused)
				}
				for range 5 {
					if d := r.ask(c); d.Reason() != authz.ReauthorizationRequired {
						t.Errorf("again: %s", d.Reason())
					}
				}
				if n := w.endpoint.Calls() - before; n != 1 {
					t.Errorf("%d calls", n)
				}
				return
			}
			if d.Reason() != authz.ProviderUnavailable || e.Status() != 503 || e.Code != ath.OAuthError {
				t.Fatalf("%s: %v", d.Reason(), e)
			}
			if got := w.stored(c); !got.RefreshStatus.Refused.IsZero() {
				t.Errorf("the grant is condemned: %+v", got.RefreshStatus)
			}
			w.endpoint.Answers(nil)
			until(t, "the provider is asked again, and refreshes", 15*time.Second, func() bool { d := r.ask(c); return d.Allowed() })
		})
	}
	if text := r.events.String(); !strings.Contains(text, `"connection_condemned"`) || !strings.Contains(text, `"refresh_refused"`) ||
		!strings.Contains(text, "refused: invalid_grant (HTTP 400)") || !strings.Contains(text, `"connection_refreshed"`) {
		t.Errorf("the events do not say it:\n%s", text)
	}
	if text := r.events.String(); strings.Contains(text, "access-") || strings.Contains(text, "refresh-") {
		t.Error("log or event holds a token")
	}
}

// A refusal ahead of the token's end changes nothing until then.
func TestAnAccessTokenIsUsedUntilItsEnd(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	r := w.replicas[0]
	w.endpoint.Answers(says(400, `{"error":"invalid_grant"}`))
	c := w.connect(30 * time.Second)
	until(t, "the refusal is written down", 10*time.Second, func() bool {
		if d := r.ask(c); !d.Allowed() {
			t.Fatal(d.Reason())
		}
		return !w.stored(c).RefreshStatus.Refused.IsZero()
	})
	if d := r.ask(c); !d.Allowed() {
		t.Errorf("refused before its end: %s", d.Reason())
	}
	r.ahead.Store(int64(31 * time.Second))
	if d := r.ask(c); d.Reason() != authz.ReauthorizationRequired {
		t.Errorf("after its end: %s", d.Reason())
	}
	if n := w.endpoint.Calls(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// A user who was disabled and is enabled again need not consent again: one call
// some minutes later tries once more, and no other does.
func TestARefusedTokenIsTriedOnceMore(t *testing.T) {
	for name, back := range map[string]bool{"the user is enabled again": true, "the user is not": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
			r := w.replicas[0]
			w.endpoint.Answers(says(400, `{"error":"invalid_grant","error_description":"User disabled"}`))
			c := w.connect(-time.Second)
			r.ask(c)
			r.ahead.Store(int64(4 * time.Minute))
			if d := r.ask(c); d.Reason() != authz.ReauthorizationRequired || w.endpoint.Calls() != 1 {
				t.Fatalf("%s after %d calls", d.Reason(), w.endpoint.Calls())
			}
			if back {
				w.endpoint.Answers(nil)
			}
			r.ahead.Store(int64(6 * time.Minute))
			d := r.ask(c)
			if d.Allowed() != back || w.endpoint.Calls() != 2 {
				t.Errorf("%s after %d calls", d.Reason(), w.endpoint.Calls())
			}
			if back {
				if got := w.stored(c).RefreshStatus; !got.Refused.IsZero() || got.TriedAgain {
					t.Errorf("still refused: %+v", got)
				}
				return
			}
			r.ahead.Store(int64(50 * time.Minute))
			if d := r.ask(c); d.Reason() != authz.ReauthorizationRequired || w.endpoint.Calls() != 2 {
				t.Errorf("%s after %d calls", d.Reason(), w.endpoint.Calls())
			}
			left, err := w.replicas[0].store.RefreshState(t.Context(), c.ref)
			if err != nil || left.Connection.Refresh.IsZero() {
				t.Error("the refused token is gone", err)
			}
		})
	}
}

// Scopes may become fewer by a refresh, and never more.
//
// proves: P-6, T-3
func TestARefreshNarrowsAndNeverWidens(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	r := w.replicas[0]
	post := func(c call) authz.Reason {
		d := r.decider.Decide(t.Context(), authz.Request{
			Method: "POST", Path: "/ath/proxy/shop/orders", Provider: "shop", Mount: "/ath/proxy/shop/",
			Authorization: []string{"Bearer " + c.token.Secret().Reveal()}, AgentID: []string{agentID},
		})
		return d.Reason()
	}
	for _, tt := range []struct {
		name  string
		scope any // nil: not in the reply
		want  ath.Scopes
		posts authz.Reason
	}{
		{"no scope in the reply", nil, ath.Scopes{"products:read", "orders:write"}, authz.Allowed},
		{"an empty one", "", ath.Scopes{"products:read", "orders:write"}, authz.Allowed},
		{"the same, and more", "orders:write products:read admin", ath.Scopes{"products:read", "orders:write"}, authz.Allowed},
		{"fewer", "products:read", ath.Scopes{"products:read"}, authz.ScopeMissing},
		{"fewer, and another", "products:read admin", ath.Scopes{"products:read"}, authz.ScopeMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.endpoint.mu.Lock()
			w.endpoint.fields = map[string]any{}
			if tt.scope != nil {
				w.endpoint.fields["scope"] = tt.scope
			}
			w.endpoint.mu.Unlock()
			c := w.connect(-time.Second)
			if d := r.ask(c); !d.Allowed() {
				t.Fatal(d.Reason())
			}
			if got := w.stored(c); !slices.Equal(got.Scopes, tt.want) {
				t.Errorf("the connection's scopes are %q", got.Scopes)
			}
			if got := post(c); got != tt.posts {
				t.Errorf("POST: %s", got)
			}
			// What was taken away does not come back with the next refresh.
			w.endpoint.mu.Lock()
			w.endpoint.fields = map[string]any{"scope": "products:read orders:write admin"}
			w.endpoint.mu.Unlock()
			r.ahead.Store(int64(59*time.Minute + 59*time.Second))
			defer r.ahead.Store(0)
			access := w.stored(c).Access
			state := w.stored(c)
			r.vault.Soon(w.provider, grantOf(c), &state)
			until(t, "it is refreshed again", 5*time.Second, func() bool { return !w.stored(c).Access.Equal(access.Reveal()) })
			if got := w.stored(c); !slices.Equal(got.Scopes, tt.want) || got.RefreshStatus.Narrowed != (len(tt.want) == 1) {
				t.Errorf("after another refresh the connection's scopes are %q, narrowed %t", got.Scopes, got.RefreshStatus.Narrowed)
			}
		})
	}
}

// What a reply leaves out stays as it was; what it says counts.
func TestTheReplyOfARefreshCounts(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	r := w.replicas[0]
	near := func(at time.Time, in time.Duration) bool {
		return time.Until(at) > in-time.Minute && time.Until(at) < in+time.Minute
	}
	for _, tt := range []struct {
		name    string
		lenient bool
		fields  map[string]any
		check   func(was, is tokenstore.Connection) bool
	}{
		{"no refresh_token keeps the old one", true, nil, func(was, is tokenstore.Connection) bool { return is.Refresh.Equal(was.Refresh.Reveal()) }},
		{"a new one replaces it", false, nil, func(was, is tokenstore.Connection) bool { return !is.Refresh.Equal(was.Refresh.Reveal()) }},
		{"expires_in is that of the reply", false, map[string]any{"expires_in": 36000}, func(_, is tokenstore.Connection) bool { return near(is.Expires, 10*time.Hour) }},
		{"expires_in 0 is no end that is known", false, map[string]any{"expires_in": 0}, func(_, is tokenstore.Connection) bool { return is.Expires.IsZero() }},
		{"refresh_expires_in", false, map[string]any{"refresh_expires_in": 1800}, func(_, is tokenstore.Connection) bool { return near(is.RefreshStatus.RefreshExpires, 30*time.Minute) }},
		{"refresh_expires_in 0 is never", false, map[string]any{"refresh_expires_in": 0}, func(_, is tokenstore.Connection) bool { return is.RefreshStatus.RefreshExpires.IsZero() }},
		{"refresh_token_expires_in, as text", false, map[string]any{"refresh_token_expires_in": "15811200"}, func(_, is tokenstore.Connection) bool {
			return near(is.RefreshStatus.RefreshExpires, 183*24*time.Hour)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.endpoint.mu.Lock()
			w.endpoint.lenient, w.endpoint.fields = tt.lenient, tt.fields
			w.endpoint.mu.Unlock()
			c := w.connect(-time.Second)
			if d := r.ask(c); !d.Allowed() {
				t.Fatal(d.Reason())
			}
			if is := w.stored(c); !tt.check(c.first, is) || is.Access.Equal(c.first.Access.Reveal()) || !is.Created.Equal(c.first.Created) || is.User != c.first.User {
				t.Errorf("stored: %+v", is)
			}
		})
	}
}

// After a few failures in a row a provider is asked by one call at a time, and
// seldom; decisions say so at once. Other providers and connections do not matter.
func TestAProviderThatIsAwayIsLeftAlone(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: realredis.Start(t).URL()}, nil, nil)
	r := w.replicas[0]
	w.endpoint.Answers(says(502, "<html>"))
	var calls []call
	for range 40 {
		calls = append(calls, w.connect(-time.Second))
	}
	for _, c := range calls {
		if d := r.ask(c); d.Reason() != authz.ProviderUnavailable {
			t.Fatal(d.Reason())
		}
	}
	if n := w.endpoint.Calls(); n > 6 {
		t.Errorf("%d calls to a provider that is away", n)
	}
	if off := r.vault.BackedOff(); fmt.Sprint(off) != "map[shop:true]" {
		t.Errorf("backed off: %v", off)
	}
	w.endpoint.Answers(nil)
	for _, c := range calls {
		until(t, "it is asked again", 20*time.Second, func() bool { d := r.ask(c); return d.Allowed() })
	}

	// One connection's own error is no reason to leave the provider alone.
	w.endpoint.Answers(says(400, `{"error":"interaction_required"}`))
	for range 5 {
		r.ask(w.connect(-time.Second))
	}
	if off := r.vault.BackedOff(); fmt.Sprint(off) != "map[shop:false]" {
		t.Errorf("backed off: %v", off)
	}
}

// Nothing is refreshed that is not used, is not near its end, has no end, or
// cannot be.
func TestWhatIsNotRefreshed(t *testing.T) {
	for name, tt := range map[string]struct {
		more   map[string]any
		left   time.Duration
		change func(*tokenstore.Connection)
		want   authz.Reason
	}{
		"far from its end":  {nil, 30 * time.Minute, nil, authz.Allowed},
		"without an end":    {nil, time.Hour, func(c *tokenstore.Connection) { c.Expires = time.Time{} }, authz.Allowed},
		"no refresh token":  {nil, -time.Second, func(c *tokenstore.Connection) { c.Refresh = ath.Secret{} }, authz.ReauthorizationRequired},
		"off":               {map[string]any{"refresh": false}, -time.Second, nil, authz.ReauthorizationRequired},
		"off, and ending":   {map[string]any{"refresh": false}, time.Minute, nil, authz.Allowed},
		"ended":             {nil, -time.Second, func(c *tokenstore.Connection) { c.Ended = true }, authz.ReauthorizationRequired},
		"margin 0s":         {map[string]any{"refresh_margin": "0s"}, 5 * time.Second, nil, authz.Allowed},
		"before its margin": {map[string]any{"refresh_margin": "5s"}, 20 * time.Second, nil, authz.Allowed},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, tokenstore.Config{URL: tokenstore.Embedded}, tt.more, nil)
			var change []func(*tokenstore.Connection)
			if tt.change != nil {
				change = append(change, tt.change)
			}
			c := w.connect(tt.left, change...)
			for range 20 {
				if d := w.replicas[0].ask(c); d.Reason() != tt.want {
					t.Fatal(d.Reason())
				}
			}
			w.connect(time.Second) // nobody uses it
			steady(t, "the provider is not asked", 200*time.Millisecond, func() bool { return w.endpoint.Calls() == 0 })
		})
	}
}

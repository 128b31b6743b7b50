package vault_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/tokenstore"
)

// What a refresh gives is of the connection's user, or nothing of it is kept and
// the connection has ended. Keys of the server are asked for by nobody.
//
// proves: T-7, P-6
func TestARefreshNeverGivesAnotherUsersToken(t *testing.T) {
	const issuer = "http://login.shop.example" // nothing answers there
	w := newWorld(t, 1, tokenstore.Config{URL: "embedded"}, map[string]any{"issuer": issuer}, nil)
	r := w.replicas[0]
	said := func(fields map[string]any) string {
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString(text) + ".c2ln"
	}
	for name, tt := range map[string]struct {
		change func(*tokenstore.Connection)
		claims func(c call) map[string]any // nil: no ID token
		kept   bool
	}{
		"no ID token":     {nil, nil, true},
		"of the user":     {nil, func(c call) map[string]any { return map[string]any{"iss": issuer, "aud": "c", "sub": c.ref.User} }, true},
		"of another":      {nil, func(call) map[string]any { return map[string]any{"iss": issuer, "aud": "c", "sub": "mallory"} }, false},
		"of no issuer":    {nil, func(c call) map[string]any { return map[string]any{"aud": "c", "sub": c.ref.User} }, false},
		"for no client":   {nil, func(c call) map[string]any { return map[string]any{"iss": issuer, "aud": "d", "sub": c.ref.User} }, false},
		"of the subject":  {func(c *tokenstore.Connection) { c.RefreshStatus.Subject = "s-1" }, func(call) map[string]any { return map[string]any{"iss": issuer, "aud": "c", "sub": "s-1"} }, true},
		"not the subject": {func(c *tokenstore.Connection) { c.RefreshStatus.Subject = "s-1" }, func(c call) map[string]any { return map[string]any{"iss": issuer, "aud": "c", "sub": c.ref.User} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			change := tt.change
			if change == nil {
				change = func(*tokenstore.Connection) {}
			}
			c := w.connect(-time.Second, change)
			fields := map[string]any{}
			if tt.claims != nil {
				fields["id_token"] = said(tt.claims(c))
			}
			w.endpoint.mu.Lock()
			w.endpoint.fields = fields
			w.endpoint.mu.Unlock()
			before := w.endpoint.Calls()
			d := r.ask(c)
			now := w.stored(c)
			if tt.kept {
				if !d.Allowed() || !w.renewed(c) || now.Ended || !now.RefreshStatus.Refused.IsZero() {
					t.Errorf("%s, stored %+v", d.Reason(), now.RefreshStatus)
				}
				if now.RefreshStatus.Subject != c.first.RefreshStatus.Subject {
					t.Errorf("the subject is now %q", now.RefreshStatus.Subject)
				}
				return
			}
			if d.Reason() != authz.ReauthorizationRequired || d.Refusal().Code != ath.TokenInvalid {
				t.Errorf("answered %s", d.Reason())
			}
			if !now.Ended || now.RefreshStatus.RefusedFor != tokenstore.OtherUser || !now.Access.Equal(c.first.Access.Reveal()) || !now.Refresh.Equal(c.first.Refresh.Reveal()) {
				t.Errorf("stored %+v, or another's tokens", now.RefreshStatus)
			}
			r.ahead.Store(int64(time.Hour / 2)) // past the one later try
			defer r.ahead.Store(0)
			if d := r.ask(c); d.Reason() != authz.ReauthorizationRequired || w.endpoint.Calls()-before != 1 {
				t.Errorf("later: %s after %d calls", d.Reason(), w.endpoint.Calls()-before)
			}
		})
	}
	until(t, "the event is there", 5*time.Second, func() bool {
		return strings.Contains(r.events.String(), `"denial_reason":"refresh_other_user"`)
	})
	if text := r.events.String(); !strings.Contains(text, "ID token of the refresh: is of another user") || strings.Contains(text, "mallory") {
		t.Errorf("events and log do not say it, or name the other:\n%s", text)
	}
}

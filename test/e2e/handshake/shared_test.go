package handshake

import (
	"strings"
	"testing"

	"github.com/athd/athd/provider"
)

const perUser = `, "issuer": "SERVER", "extra_scopes": ["openid"],
	"scope_rules": [{"scope": "things:read", "methods": ["GET"], "paths": ["/things"]}], "grants": `

// Tokens that a user's agents share are stored for a user who is proven, and where
// they were asked for so, or not at all. The agent is told, and the event says why.
// proves: T-7
func TestTokensAreSharedForWhoIsProvenOnly(t *testing.T) {
	for name, c := range map[string]struct {
		then, told, said string
	}{
		"a reply without an ID token": {"", "The authorization server did not say who the user is.", "neither a verified ID token nor userinfo"},
		"grants was changed":          {"per_consent", "configuration has changed.", "grants was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			u := startUpstream(t)
			var all *provider.Providers
			w := newWorld(t, func(c *settings) {
				all = provider.NewProviders(u.provider(t, c.PublicURL, perUser+`"per_user"`))
				c.Providers = all
			})
			a := w.actor("shares")
			a.register("forge", "things:read")
			link, session := a.authorize("forge", []string{"things:read"})
			if c.then != "" {
				all.Replace(u.provider(t, w.public, perUser+`"`+c.then+`"`))
			}
			page := w.atProvider(w.newBrowser(), link, "alice")
			if !strings.Contains(page.Body, c.told) {
				t.Errorf("the user reads %s", page.Body)
			}
			w.refusedAs(t, w.post("/ath/token", a.exchange(session, "x")), 502, "OAUTH_ERROR")
			if !strings.Contains(w.log(), c.said) {
				t.Errorf("the log has no %q", c.said)
			}
			if all := w.connectionsOf(t, ""); len(all) != 0 {
				t.Errorf("stored: %v", all)
			}
		})
	}
}

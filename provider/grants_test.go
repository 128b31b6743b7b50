package provider_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// proves: T-7
func TestGrantsPerUserNeedToKnowTheUser(t *testing.T) {
	const rules = `"scope_rules": [{"scope": "a", "methods": ["GET"], "paths": ["/a"]}], `
	for name, c := range map[string]struct{ more, fault string }{
		"the default":                 {`"grants": "per_consent"`, ""},
		"userinfo":                    {rules + `"grants": "per_user", "userinfo_endpoint": "https://as.example/me"`, ""},
		"an ID token":                 {rules + `"grants": "per_user", "issuer": "https://as.example", "extra_scopes": ["openid"]`, ""},
		"an issuer without openid":    {rules + `"grants": "per_user", "issuer": "https://as.example"`, "grants"},
		"openid without an issuer":    {rules + `"grants": "per_user", "extra_scopes": ["openid"]`, "grants"},
		"a field of the token reply":  {rules + `"grants": "per_user", "user_id_field": "id"`, "grants"},
		"the same beside an ID token": {rules + `"grants": "per_user", "issuer": "https://as.example", "extra_scopes": ["openid"], "user_id_field": "id"`, "grants"},
		"nothing":                     {rules + `"grants": "per_user"`, "grants"},
		"an id that changes hands":    {rules + `"grants": "per_user", "userinfo_endpoint": "https://as.example/me", "user_id_field": "email"`, "user_id_field"},
		"such a one in an object":     {rules + `"grants": "per_user", "userinfo_endpoint": "https://as.example/me", "user_id_field": "data.login"`, "user_id_field"},
		"what many have in common":    {rules + `"grants": "per_user", "userinfo_endpoint": "https://as.example/me", "user_id_field": "team.id"`, "user_id_field"},
		"a bot":                       {rules + `"grants": "per_user", "userinfo_endpoint": "https://as.example/me", "user_id_field": "bot_user_id"`, "user_id_field"},
		"an address by another name":  {rules + `"grants": "per_user", "userinfo_endpoint": "https://as.example/me", "user_id_field": "userPrincipalName"`, "user_id_field"},
		"an id in an object":          {rules + `"grants": "per_user", "userinfo_endpoint": "https://as.example/me", "user_id_field": "data.id"`, ""},
		"Slack's bot of a workspace":  {rules + `"grants": "per_user", "preset": "slack", "token_kind": "bot"`, "grants"},
		"Slack's users":               {rules + `"grants": "per_user", "preset": "slack", "token_kind": "user"`, ""},
		"derived rules":               {`"grants": "per_user", "userinfo_endpoint": "https://as.example/me"`, "grants"},
		"another word":                {`"grants": "per_agent"`, "grants"},
		"an empty word":               {`"grants": ""`, "grants"},
	} {
		t.Run(name, func(t *testing.T) {
			list, faults := provider.Parse("f", []byte(`{"p": {"display_name": "P", "available_scopes": ["a", "b:read"], "authorize_endpoint": "https://as.example/a", "token_endpoint": "https://as.example/t",
				"api_base_url": "https://api.example", "client_id": "c", "client_secret": "hunter2:hunter2", `+c.more+`}}`), provider.Options{})
			switch {
			case c.fault == "" && len(faults) > 0:
				t.Error(faults)
			case c.fault == "":
				if want := strings.Contains(c.more, "per_user"); list[0].SharesGrants() != want {
					t.Errorf("grants are %q", list[0].Grants)
				}
			case len(faults) != 1 || !strings.Contains(faults.Error(), c.fault):
				t.Errorf("%v, want one fault of %s", faults, c.fault)
			}
		})
	}
}

// The server is asked for what any of the user's agents may want, and the URL that
// is shown to the agent does not tell.
func TestGrantsPerUserAskForAllScopes(t *testing.T) {
	p := refreshProvider(t, "https://as.example", `"extra_scopes": ["openid"]`)
	if got := p.Asked(ath.Scopes{"b"}, true); !slices.Equal(got, ath.Scopes{"b", "a"}) {
		t.Errorf("shared: %q", got)
	}
	if got := p.Asked(ath.Scopes{"b"}, false); !slices.Equal(got, ath.Scopes{"b"}) {
		t.Errorf("of one consent: %q", got)
	}
	u, err := url.Parse(p.AuthCodeURL(provider.AuthRequest{State: ath.NewSecret("s"), Verifier: ath.NewSecret("v"), Scopes: p.Asked(ath.Scopes{"b"}, true)}))
	if err != nil || u.Query().Get("scope") != "b a openid" {
		t.Errorf("%q, %v", u.Query().Get("scope"), err)
	}
}

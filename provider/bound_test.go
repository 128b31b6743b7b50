package provider

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/athd/athd/provider/metadata"
)

type said = map[string]any

// boundProvider is one whose fields are changed; nil takes one away. issuer is what
// its metadata says, if it is asked.
func boundProvider(t *testing.T, change said, issuer said) *Provider {
	t.Helper()
	fields := said{
		"display_name": "X", "available_scopes": []string{"read"}, "client_id": "c", "client_secret": "s", "api_base_url": "https://api.x.example/v1",
		"authorize_endpoint": "https://login.x.example/authorize", "token_endpoint": "https://login.x.example/token",
	}
	maps.Copy(fields, change)
	for name, value := range fields {
		if value == nil {
			delete(fields, name)
		}
	}
	data, err := json.Marshal(map[string]any{"x": fields})
	if err != nil {
		t.Fatal(err)
	}
	all, faults := Parse("providers.json", data, Options{PublicURL: "https://gw.example"})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if issuer == nil {
		return all[0]
	}
	doc := &metadata.Document{
		Issuer: all[0].Issuer, AuthorizationEndpoint: "https://login.x.example/authorize", TokenEndpoint: "https://login.x.example/token",
		UserinfoEndpoint: text(issuer["userinfo"]), RevocationEndpoint: text(issuer["revocation"]),
	}
	p, err := all[0].With(doc, "https://login.x.example/token")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// proves: O-2
func TestATokenGoesWhereItsUserAgreed(t *testing.T) {
	const userinfo, revoke = "https://users.example/me", "https://login.x.example/revoke"
	both := said{"userinfo_endpoint": userinfo, "revocation_endpoint": revoke}
	discovered := said{"issuer": "https://login.x.example", "authorize_endpoint": nil, "token_endpoint": nil}
	with := func(a, b said) said {
		out := maps.Clone(a)
		maps.Copy(out, b)
		return out
	}
	for _, c := range []struct {
		name            string
		was, wasIssuer  said
		now, nowIssuer  said
		agreed, revokes bool
	}{
		{"nothing has changed", both, nil, both, nil, true, true},
		{"what no token goes to has", both, nil, with(both, said{"display_name": "Y", "authorize_endpoint": "https://login.x.example/a2", "client_secret": "s2"}), nil, true, true},
		{"another userinfo endpoint", both, nil, with(both, said{"userinfo_endpoint": "https://evil.example/me"}), nil, false, true},
		{"another one on the same host", both, nil, with(both, said{"userinfo_endpoint": "https://users.example/you"}), nil, false, true},
		{"another one on the API's host", both, nil, with(both, said{"userinfo_endpoint": "https://api.x.example/me"}), nil, false, true},
		{"another query", both, nil, with(both, said{"userinfo_endpoint": userinfo + "?x=y"}), nil, false, true},
		{"another revocation endpoint", both, nil, with(both, said{"revocation_endpoint": "https://evil.example/revoke"}), nil, false, false},
		{"another token endpoint", both, nil, with(both, said{"token_endpoint": "https://login.x.example/token2"}), nil, false, false},
		{"another client", both, nil, with(both, said{"client_id": "c2"}), nil, false, false},
		{"another API host", both, nil, with(both, said{"api_base_url": "https://api2.x.example"}), nil, false, true},
		{"another API path", both, nil, with(both, said{"api_base_url": "https://api.x.example/v2"}), nil, true, true},
		{"none any more", both, nil, said{}, nil, true, true},
		{"a userinfo endpoint where there was none", said{}, nil, said{"userinfo_endpoint": userinfo}, nil, false, true},
		{"one on the API's host where there was none", said{}, nil, said{"userinfo_endpoint": "https://api.x.example/me"}, nil, true, true},
		{"one at the token endpoint's where there was none", said{}, nil, said{"userinfo_endpoint": "https://LOGIN.x.example/me"}, nil, true, true},
		{"a revocation endpoint where there was none", said{}, nil, said{"revocation_endpoint": "https://revoke.example"}, nil, false, false},
		{"one at the token endpoint's", said{}, nil, said{"revocation_endpoint": revoke}, nil, true, true},

		{"the issuer moves its endpoints", discovered, said{"userinfo": userinfo, "revocation": revoke}, discovered, said{"userinfo": "https://other.example/me", "revocation": "https://other.example/r"}, true, true},
		{"the issuer says one more", discovered, said{}, discovered, said{"userinfo": userinfo, "revocation": revoke}, true, true},
		{"the issuer is not asked yet", discovered, said{}, discovered, nil, false, false}, // Destination is not known
		{"another issuer, beside a token endpoint that stays", said{"issuer": "https://login.x.example", "authorize_endpoint": nil}, said{"userinfo": userinfo},
			said{"issuer": "https://evil.example", "authorize_endpoint": nil}, said{"userinfo": "https://evil.example/me"}, false, true},
		{"another issuer, which says the place where the token is", said{"issuer": "https://login.x.example", "authorize_endpoint": nil}, said{"userinfo": "https://api.x.example/me"},
			said{"issuer": "https://login.x.example/", "authorize_endpoint": nil}, said{"userinfo": "https://api.x.example/me"}, true, true},
		{"what the issuer said is written now, elsewhere", discovered, said{"userinfo": userinfo}, with(discovered, said{"userinfo_endpoint": "https://evil.example/me"}), said{}, false, true},
		{"what was written the issuer says now", with(discovered, said{"userinfo_endpoint": userinfo}), said{}, discovered, said{"userinfo": userinfo}, true, true},
		{"what was written the issuer says otherwise", with(discovered, said{"userinfo_endpoint": userinfo}), said{}, discovered, said{"userinfo": "https://evil.example/me"}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			was, now := boundProvider(t, c.was, c.wasIssuer), boundProvider(t, c.now, c.nowIssuer)
			destination, bound := was.Destination(), was.Bound()
			if bound == "" || len(bound) > 60 {
				t.Errorf("bound is %q", bound)
			}
			if got := now.Agreed(destination, bound); got != c.agreed {
				t.Errorf("agreed: %v, by %q and now %q", got, bound, now.Bound())
			}
			if got := now.AgreedToRevoke(destination, bound); got != c.revokes {
				t.Errorf("agreed to revoke there: %v", got)
			}
			// A connection of before is bound by its destination alone.
			if got := now.Agreed(destination, ""); got != (destination == now.Destination()) {
				t.Errorf("one of before: %v", got)
			}
			if now.Agreed("", bound) || now.Agreed("", "") {
				t.Error("without a destination")
			}
			for _, odd := range []string{"x", "u", "r", "ux r", "u rx", " "} {
				if odd != bound && now.Agreed(destination, odd) && now.UserinfoURL != nil && now.RevocationURL != nil {
					t.Errorf("by %q", odd)
				}
			}
		})
	}
}

// A newer athd may know more of a service, and ends no connection by that.
//
// proves: O-2
func TestWhatAPresetKnowsBindsNothing(t *testing.T) {
	github := boundProvider(t, said{"authorize_endpoint": "https://github.com/login/oauth/authorize", "token_endpoint": "https://github.com/login/oauth/access_token", "api_base_url": "https://api.github.com"}, nil)
	if github.UserinfoURL == nil || github.RevocationURL == nil {
		t.Fatal("the preset knows neither")
	}
	if got := github.Bound(); got != "u r" {
		t.Errorf("bound to %q", got)
	}
	before := *github
	before.UserinfoURL, before.RevocationURL = nil, nil
	if !github.Agreed(before.Destination(), before.Bound()) {
		t.Error("an upgrade ends the connection")
	}
}

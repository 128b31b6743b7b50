package vault_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// A provider whose issuer has not told its endpoints ends no grant, and is asked
// nothing. Once it has, the token is refreshed there; and still, after the issuer
// has moved its token endpoint.
//
// proves: P-6, O-2
func TestGrantOutlivesAnIssuerThatIsAway(t *testing.T) {
	const issuer = "http://login.shop.example"
	w := newWorld(t, 1, tokenstore.Config{URL: "embedded"}, map[string]any{"issuer": issuer, "authorize_endpoint": "", "token_endpoint": ""}, func(c *vault.Config) {
		c.OAuth = provider.NewClient(provider.ClientConfig{AllowHTTP: true, AllowPrivate: true})
	})
	untold, first := w.provider, w.endpoint.URL+"/token"
	told := func(token string) *provider.Provider {
		t.Helper()
		text, err := json.Marshal(map[string]any{"issuer": issuer, "authorization_endpoint": issuer + "/a", "token_endpoint": token, "token_endpoint_auth_methods_supported": []string{"client_secret_post"}})
		if err != nil {
			t.Fatal(err)
		}
		document, err := metadata.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		p, err := untold.With(document, first)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	use := func(p *provider.Provider) {
		t.Helper()
		set, err := provider.NewSet(p)
		if err != nil {
			t.Fatal(err)
		}
		w.list.Replace(set)
	}
	w.provider = told(first)
	c, r := w.connect(-time.Second), w.replicas[0]

	if d := r.ask(c); d.Reason() != authz.ProviderUnavailable {
		t.Errorf("the issuer has told nothing: %s", d.Reason())
	}
	// Also where a request that is older than the configuration waits.
	grant := &tokenstore.Grant{Agent: agentID, User: c.ref.User, Provider: "shop", Connection: c.ref.Tag}
	if got := r.vault.Renew(t.Context(), untold, grant, &c.first); got != vault.ProviderAway {
		t.Errorf("the vault says %v", got)
	}
	if now := w.stored(c); !now.RefreshStatus.Refused.IsZero() || now.Ended || !now.Refresh.Equal(c.first.Refresh.Reveal()) || w.endpoint.Calls() != 0 {
		t.Errorf("the grant was touched, or the server asked %d times: %+v", w.endpoint.Calls(), now.RefreshStatus)
	}

	use(told(first))
	until(t, "the token is refreshed", 5*time.Second, func() bool { d := r.ask(c); return d.Allowed() })
	if !w.renewed(c) {
		t.Error("it is not new")
	}
	use(told(w.endpoint.URL + "/token/v2"))
	c = w.connect(-time.Second)
	until(t, "the token is refreshed at the new endpoint", 5*time.Second, func() bool { d := r.ask(c); return d.Allowed() })
}

package authz

import (
	"context"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// anyCall is a store whose token may call all of the run-time provider tools.
type anyCall struct{ token ath.Token }

func (a anyCall) Read(context.Context, ath.Token, string) (tokenstore.Reading, error) {
	later := now.Add(time.Hour)
	return tokenstore.Reading{
		Grant:      &tokenstore.Grant{Agent: agentID, ClientID: "c", Provider: "tools", Scopes: ath.Scopes{"all"}, Expires: later},
		Connection: &tokenstore.Connection{Access: ath.NewSecret(upstream), Destination: "https://login.tools.example/t c https://api.tools.example:8443"},
		Agent:      &tokenstore.Agent{ID: agentID, ClientID: "c", ApprovalExpires: later, Approvals: []tokenstore.Approval{{Provider: "tools", Approved: ath.Scopes{"all"}}}},
	}, nil
}

// FuzzRuntimeRoute: whatever path comes by the route of run-time providers, what is
// allowed goes to the provider's own host, below its base path, and is what was
// judged, byte for byte; whatever else is refused has no destination.
//
// proves: P-3, P-7
func FuzzRuntimeRoute(f *testing.F) {
	const base, mount = "/v1", "/ath/proxy/tools/"
	of := func(p provider.Provider) *provider.Provider {
		p.DisplayName, p.ClientID, p.Scopes, p.Runtime = "X", "c", ath.Scopes{"all"}, true
		p.AuthorizeURL, p.TokenURL = &url.URL{Scheme: "https", Host: "login.tools.example", Path: "/a"}, &url.URL{Scheme: "https", Host: "login.tools.example", Path: "/t"}
		return &p
	}
	list, faults := provider.Parse("providers.json", []byte(`{"tools": {"display_name": "X", "available_scopes": ["all"], "authorize_endpoint": "https://login.tools.example/a",
		"token_endpoint": "https://login.tools.example/t", "client_id": "c", "client_secret": "s", "api_base_url": "https://api.tools.example:8443/v1", "allow_encoded_slash": true,
		"allow_encoded": ["#", "?", "%"], "scope_rules": [{"scope": "all", "methods": ["GET"], "paths": ["/**"]}]}}`), provider.Options{PublicURL: "https://gw.example"})
	if len(faults) > 0 {
		f.Fatal(faults)
	}
	set, err := provider.NewSet(of(*list[0]), of(provider.Provider{ID: "other", APIBase: &url.URL{Scheme: "https", Host: "api.other.example"}}))
	if err != nil {
		f.Fatal(err)
	}
	store := anyCall{ath.NewToken(ath.NewTag())}
	d, err := New(Config{
		Store: store, Providers: provider.NewProviders(set), Logger: slog.New(slog.DiscardHandler), Audit: audit.New(audit.Config{Writer: io.Discard}),
		Now: func() time.Time { return now },
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range []string{
		mount + "a?b=c", mount, mount + "a%2Fb", mount + "a%23%3F%25", mount + "../other/a", mount + "/a", "/ath/proxy/other/a", "/ath/proxy/tools", "/ath/proxy/tools?/", mount + "?", mount + "a?",
		mount + "a//b", mount + "a/?b#c", "/ath/proxy/t%6Fols/a", "//ath/proxy/tools/a", mount + "a\r\nhost: evil", mount + "@evil.example/", mount + "\\evil", mount + "a;b", "/ath/proxy/tools/\x00",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		decision := d.Decide(t.Context(), Request{
			Method: "GET", Path: path, Host: "gw.example", Runtime: true, Authorization: []string{"Bearer " + store.token.Secret().Reveal()}, AgentID: []string{agentID},
		})
		to := decision.Target()
		if !decision.Allowed() {
			if to != (Target{}) {
				t.Fatalf("%q is refused, and goes to %+v", path, to)
			}
			return
		}
		rest, below := strings.CutPrefix(path, mount)
		if !below || to.Host != "api.tools.example:8443" || to.HTTP || to.Path != base+"/"+rest || !ath.IsVisible(to.Path) {
			t.Fatalf("%q goes to %+v", path, to)
		}
		// A server that is asked reads it below the base, too.
		u, err := url.ParseRequestURI(to.Path)
		if err != nil || u.Host != "" || !strings.HasPrefix(u.EscapedPath(), base+"/") || strings.Contains(u.EscapedPath(), "//") {
			t.Fatalf("%q goes to %q, which reads as %v, %v", path, to.Path, u, err)
		}
	})
}

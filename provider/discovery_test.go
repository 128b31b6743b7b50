package provider_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
)

func document(t *testing.T, issuer string, more map[string]any) *metadata.Document {
	t.Helper()
	all := map[string]any{"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token"}
	maps.Copy(all, more)
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	d, err := metadata.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// byIssuer is a provider without endpoints.
func byIssuer(t *testing.T, issuer string, change map[string]any) *provider.Provider {
	t.Helper()
	fields := map[string]any{"issuer": issuer, "authorize_endpoint": "", "token_endpoint": ""}
	maps.Copy(fields, change)
	return asking(t, "", fields)
}

func TestHowTheClientAuthenticatesFollowsFromMetadata(t *testing.T) {
	const issuer = "https://login.example.com"
	for _, tt := range []struct {
		listed  any
		written string
		want    provider.AuthMethod
	}{
		{[]string{"client_secret_basic"}, "", provider.ClientSecretBasic},
		{[]string{"client_secret_basic", "client_secret_post"}, "", provider.ClientSecretPost},
		{[]string{"private_key_jwt"}, "", provider.ClientSecretPost},
		{nil, "", provider.ClientSecretBasic}, // RFC 8414, section 2
		{[]string{"client_secret_basic"}, "client_secret_post", provider.ClientSecretPost},
	} {
		change := map[string]any{}
		if tt.written != "" {
			change["token_auth_method"] = tt.written
		}
		p, err := byIssuer(t, issuer, change).With(document(t, issuer, map[string]any{"token_endpoint_auth_methods_supported": tt.listed}), "")
		if err != nil || p.AuthMethod != tt.want {
			t.Errorf("%v: %s, %v; want %s", tt.listed, p.AuthMethod, err, tt.want)
		}
	}
}

// A configuration with endpoints takes nothing of the metadata.
func TestWrittenEndpointsAreAsBefore(t *testing.T) {
	p := asking(t, "https://login.example.com", map[string]any{"issuer": "https://login.example.com"})
	if p.Discovered || !p.Ready() || p.Destination() != "https://login.example.com/token athd https://api.example" {
		t.Errorf("%v %v %q", p.Discovered, p.Ready(), p.Destination())
	}
}

func TestMetadataOfAnotherIssuerFillsNothing(t *testing.T) {
	p := byIssuer(t, "https://login.example.com", nil)
	if _, err := p.With(document(t, "https://login.example.com/", nil), ""); err == nil || !strings.Contains(err.Error(), "slash") {
		t.Error(err)
	}
	if p.Ready() || p.Destination() != "" {
		t.Error("it has endpoints")
	}
}

// What athd asks for beside the agent's scopes is asked of the server, and shown
// to no agent.
func TestExtraScopesAreAskedOfTheServerAlone(t *testing.T) {
	p := asking(t, "https://login.example.com", map[string]any{"extra_scopes": []string{"openid", "things:read"}, "resource": "https://api.example/v1"})
	r := provider.AuthRequest{State: ath.NewSecret("s"), Verifier: ath.NewSecret("v"), RedirectURI: callback, Scopes: ath.Scopes{"things:read"}, Resource: "https://agents.word.example"}
	query := func(r provider.AuthRequest) url.Values {
		u, err := url.Parse(p.AuthCodeURL(r))
		if err != nil {
			t.Fatal(err)
		}
		return u.Query()
	}
	if q := query(r); q.Get("scope") != "things:read openid" || q.Get("nonce") == "" || q.Get("resource") != "https://api.example/v1" {
		t.Errorf("the server is asked for %v", q)
	}
	if q := query(r.Shown()); q.Get("scope") != "things:read" || q.Has("nonce") {
		t.Errorf("the agent is shown %v", q)
	}
}

func TestExtraScopesCountForNobody(t *testing.T) {
	var form url.Values
	var user []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/me" {
			user = append(user, r.Header.Get("Authorization"))
			fmt.Fprint(w, `{"sub":"user-1"}`)
			return
		}
		_ = r.ParseForm()
		form = r.PostForm
		scope := "things:read openid"
		if r.PostForm.Get("code") == "dropped" {
			scope = "things:read"
		}
		fmt.Fprintf(w, `{"access_token":"t","token_type":"Bearer","scope":%q}`, scope)
	}))
	t.Cleanup(srv.Close)
	client := provider.NewClient(provider.ClientConfig{AllowHTTP: true, AllowPrivate: true})
	redeem := func(p *provider.Provider, code string) provider.Tokens {
		t.Helper()
		got, err := client.Exchange(t.Context(), p, provider.Redemption{Code: ath.NewSecret(code), Verifier: ath.NewSecret("v"), RedirectURI: callback, Scopes: ath.Scopes{"things:read"}})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	d := document(t, srv.URL, map[string]any{"userinfo_endpoint": srv.URL + "/me", "token_endpoint_auth_methods_supported": []string{"client_secret_post"}})
	with := func(change map[string]any) *provider.Provider {
		t.Helper()
		p, err := byIssuer(t, srv.URL, change).With(d, "")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	named := with(map[string]any{"extra_scopes": []string{"openid"}, "resource": "https://api.example/v1"})
	if got := redeem(named, "code"); !slices.Equal(got.Scopes, ath.Scopes{"things:read"}) || got.User != "user-1" || form.Get("resource") != "https://api.example/v1" {
		t.Errorf("%v, user %q, sent %v", got.Scopes, got.User, form)
	}
	// Userinfo of an OpenID server refuses a token without openid: it is not asked.
	if got := redeem(named, "dropped"); got.User != "" || len(user) != 1 {
		t.Errorf("user %q, asked %d times", got.User, len(user))
	}
	if got := redeem(with(nil), "dropped"); got.User != "" || len(user) != 1 {
		t.Errorf("user %q, asked %d times", got.User, len(user))
	}
}

func TestWhatBelongsToAnIssuerAloneIsChecked(t *testing.T) {
	for _, tt := range []struct{ fields, says string }{
		{`"issuer": "https://login.example.com/.well-known/openid-configuration"`, "want the issuer, and not the URL of its metadata"},
		{`"issuer": "http://login.example.com"`, "issuer: want an https URL"},
		{`"issuer": "https://login.example.com", "extra_scopes": ["a b"]`, "extra_scopes[0]: a scope is"},
		{`"issuer": "https://login.example.com", "resource": "api"`, "resource: not an absolute URL"},
		{`"authorize_endpoint": "https://a.example/a", "token_endpoint": "https://a.example/t", "allow_private_issuer": true`, "allow_private_issuer: is for an issuer without endpoints"},
		{`"token_endpoint": "https://a.example/t"`, "authorize_endpoint: is missing"},
	} {
		text := `{"shop": {"display_name": "Shop", "available_scopes": ["a:read"], "api_base_url": "https://api.example", "client_id": "c", "client_secret": "s", ` + tt.fields + `}}`
		_, faults := provider.Parse("providers.json", []byte(text), provider.Options{})
		if faults == nil || !strings.Contains(faults.Error(), tt.says) {
			t.Errorf("%s: %v, want %s", tt.fields, faults, tt.says)
		}
	}
	text := `{"shop": {"display_name": "Shop", "available_scopes": ["a:read"], "client_id": "c", "client_secret": "s", "issuer": "https://login.example.com"}}`
	if _, faults := provider.Parse("providers.json", []byte(text), provider.Options{}); faults == nil || !strings.Contains(faults.Error(), "api_base_url: is missing") {
		t.Errorf("without the API's base: %v", faults)
	}
}

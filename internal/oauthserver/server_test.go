package oauthserver_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/internal/oauthserver"
)

func TestUserInfoAnswersTheTokensUser(t *testing.T) {
	w := newWorld(t, nil)
	got := w.granted("products:read")
	status, body := w.get("/userinfo", got.Access)
	var user struct{ Sub, Name string }
	if err := json.Unmarshal([]byte(body), &user); err != nil || status != 200 || user.Sub != "u-1" || user.Name != "alice" {
		t.Errorf("userinfo = %d %s", status, body)
	}
	for _, token := range []string{"", "guess", got.Access + "x"} {
		if status, _ := w.get("/userinfo", token); status != 401 {
			t.Errorf("userinfo of %q = %d", token, status)
		}
	}
}

func TestServerPublishesMetadata(t *testing.T) {
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		w := newWorld(t, nil)
		status, body := w.get(path, "")
		var meta struct {
			Issuer     string   `json:"issuer"`
			Authorize  string   `json:"authorization_endpoint"`
			Token      string   `json:"token_endpoint"`
			UserInfo   string   `json:"userinfo_endpoint"`
			Revocation string   `json:"revocation_endpoint"`
			PKCE       []string `json:"code_challenge_methods_supported"`
			Iss        bool     `json:"authorization_response_iss_parameter_supported"`
		}
		if err := json.Unmarshal([]byte(body), &meta); err != nil || status != 200 {
			t.Fatalf("%s = %d %s", path, status, body)
		}
		if meta.Issuer != w.issuer || meta.Authorize != w.issuer+"/authorize" || meta.Token != w.issuer+"/token" ||
			meta.UserInfo != w.issuer+"/userinfo" || meta.Revocation != w.issuer+"/revoke" ||
			len(meta.PKCE) != 1 || meta.PKCE[0] != "S256" || !meta.Iss {
			t.Errorf("%s = %s", path, body)
		}
	}
}

func TestResourceParameter(t *testing.T) {
	const shop = "https://shop.example/api"
	tests := []struct {
		name      string
		known     []string
		resource  string
		wantError string
	}{
		{"is without effect where none is configured", nil, shop, ""},
		{"is accepted where it is known", []string{shop}, shop, ""},
		{"is refused where it is not", []string{shop}, "https://other.example", "invalid_target"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, func(c *oauthserver.Config) { c.Resources = test.known })
			r := newRequest("products:read")
			r.Set("resource", test.resource)
			page := w.open(r)
			if test.wantError != "" {
				if got := page.URL.Query().Get("error"); got != test.wantError {
					t.Errorf("error = %q", got)
				}
				return
			}
			back := w.submit(w.login(page).Form().Press("decision", "allow"))
			if got := w.redeem(back.URL.Query().Get("code"), r.verifier); got.status != 200 {
				t.Errorf("token = %d %s", got.status, got.body)
			}
		})
	}
}

func TestClientAuthenticationIsAsRegistered(t *testing.T) {
	w := newWorld(t, func(c *oauthserver.Config) { c.Clients[0].AuthMethod = "client_secret_basic" })
	r := newRequest("products:read")
	code := w.code(r)
	if got := w.redeem(code, r.verifier); got.status != 401 {
		t.Errorf("secret in the body = %d %s", got.status, got.body)
	}
	got := w.post("/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI}, "code_verifier": {r.verifier},
	}, func(req *http.Request) { req.SetBasicAuth(clientID, clientSecret) })
	if got.status != 200 {
		t.Errorf("secret by Basic = %d %s", got.status, got.body)
	}
}

func TestClientGetsARefreshTokenWithoutAskingForIt(t *testing.T) {
	w := newWorld(t, func(c *oauthserver.Config) { c.Clients[0].AlwaysRefreshable = true })
	if got := w.granted("products:read"); got.Refresh == "" {
		t.Errorf("reply = %s", got.body)
	}
}

func TestServerShowsEachHabit(t *testing.T) {
	tests := []struct {
		name   string
		habits oauthserver.Habits
		good   bool // look at a good reply, not at an error
		check  func(tokens) bool
	}{
		{"none", oauthserver.Habits{}, true, func(r tokens) bool { return r.Scope == "products:read cart:write" && r.ExpiresIn > 0 }},
		{"no scope", oauthserver.Habits{OmitScope: true}, true, func(r tokens) bool { return !strings.Contains(r.body, "scope") && r.Access != "" }},
		{"no expires_in", oauthserver.Habits{OmitExpiresIn: true}, true, func(r tokens) bool { return !strings.Contains(r.body, "expires_in") && r.Access != "" }},
		{"commas", oauthserver.Habits{CommaScopes: true}, true, func(r tokens) bool { return r.Scope == "products:read,cart:write" }},
		{"errors are 400", oauthserver.Habits{}, false, func(r tokens) bool { return r.status == 400 && r.Error == "invalid_grant" }},
		{"errors are 200", oauthserver.Habits{ErrorsAre200: true}, false, func(r tokens) bool { return r.status == 200 && r.Error == "invalid_grant" }},
		{"form", oauthserver.Habits{FormEncoded: true}, true, func(r tokens) bool {
			form, err := url.ParseQuery(r.body)
			return err == nil && strings.HasPrefix(form.Get("access_token"), "user_") && form.Get("expires_in") == "3600"
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, func(c *oauthserver.Config) { c.Habits = test.habits })
			r := newRequest("products:read cart:write")
			code := w.code(r)
			if !test.good {
				code = "code_guess"
			}
			if got := w.redeem(code, r.verifier); !test.check(got) {
				t.Errorf("reply = %d %s", got.status, got.body)
			}
		})
	}
	t.Run("can be changed while running, and JSON can be asked for", func(t *testing.T) {
		w := newWorld(t, nil)
		w.SetHabits(oauthserver.Habits{FormEncoded: true})
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"guess"}, "client_id": {clientID}, "client_secret": {clientSecret}}
		if got := w.post("/token", form, nil); !strings.HasPrefix(got.body, "error=invalid_grant") {
			t.Errorf("form = %s", got.body)
		}
		got := w.post("/token", form, func(r *http.Request) { r.Header.Set("Accept", "application/json") })
		if got.Error != "invalid_grant" {
			t.Errorf("json = %s", got.body)
		}
	})
}

func TestPagesEscapeWhatTheyShow(t *testing.T) {
	w := newWorld(t, func(c *oauthserver.Config) { c.Clients[0].Name = `<script>alert(1)</script>` })
	r := newRequest("products:read")
	r.Set("login_hint", `"><script>alert(2)</script>`)
	page := w.open(r)
	if strings.Contains(page.Body, "<script>") || !strings.Contains(page.Text, "<script>alert(1)") {
		t.Errorf("page = %s", page.Body)
	}
	if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("Content-Security-Policy = %q", csp)
	}
}

func TestLongBodiesAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	if got := w.post("/token", url.Values{"code": {strings.Repeat("x", 65<<10)}}, nil); got.status != 400 {
		t.Errorf("status = %d", got.status)
	}
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	tests := []struct {
		name   string
		change func(*oauthserver.Config)
		want   string
	}{
		{"no issuer", func(c *oauthserver.Config) { c.Issuer = "" }, "issuer"},
		{"issuer with a path", func(c *oauthserver.Config) { c.Issuer = "http://127.0.0.1/x" }, "more than scheme and host"},
		{"no clients", func(c *oauthserver.Config) { c.Clients = nil }, "no clients"},
		{"no secret", func(c *oauthserver.Config) { c.Clients[0].Secret = "" }, "id or secret"},
		{"no redirect", func(c *oauthserver.Config) { c.Clients[0].RedirectURIs = nil }, "redirect"},
		{"no scopes", func(c *oauthserver.Config) { c.Clients[0].Scopes = nil }, "no scopes"},
		{"a scope that is two", func(c *oauthserver.Config) { c.Clients[0].Scopes = []string{"a b"} }, "space"},
		{"unknown method", func(c *oauthserver.Config) { c.Clients[0].AuthMethod = "none" }, "authentication method"},
		{"half a second", func(c *oauthserver.Config) { c.AccessTokenTTL = time.Second / 2 }, "whole seconds"},
		{"no password", func(c *oauthserver.Config) { c.Users[0].Password = "" }, "password"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config := oauthserver.Config{
				Issuer:  "http://127.0.0.1:1",
				Clients: []oauthserver.Client{{ID: "c", Secret: "s", RedirectURIs: []string{redirectURI}, Scopes: []string{"a"}}},
				Users:   []oauthserver.User{{ID: "u", Name: "n", Password: "p"}},
			}
			if _, err := oauthserver.New(config); err != nil {
				t.Fatalf("before the change: %v", err)
			}
			test.change(&config)
			if _, err := oauthserver.New(config); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("err = %v, want it to name %q", err, test.want)
			}
		})
	}
}

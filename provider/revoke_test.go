package provider

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/strict"
)

// A revocationEndpoint remembers what it was asked, and answers in turn.
type revocationEndpoint struct {
	*httptest.Server
	asked   []*http.Request
	bodies  []string
	answers []string // "STATUS BODY"; the last one again and again
}

func newRevocationEndpoint(t *testing.T, answers ...string) *revocationEndpoint {
	e := &revocationEndpoint{answers: answers}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		answer := e.answers[min(len(e.asked), len(e.answers)-1)]
		e.asked, e.bodies = append(e.asked, r), append(e.bodies, string(body))
		status, text, _ := strings.Cut(answer, " ")
		code := map[string]int{"200": 200, "204": 204, "302": 302, "400": 400, "401": 401, "404": 404, "405": 405, "422": 422, "500": 500}[status]
		if code == 302 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(code)
		io.WriteString(w, text)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *revocationEndpoint) provider(style RevocationStyle) *Provider {
	u, _ := url.Parse(e.URL + "/revoke")
	return &Provider{
		ID: "shop", ClientID: "client id", ClientSecret: ath.NewSecret("the-secret"), AuthMethod: ClientSecretPost,
		AuthorizeURL: u, TokenURL: u, RevocationURL: u, revocation: style,
	}
}

const refreshSecret, accessSecret = "refresh-secret-1", "access-secret-1"

// proves: V-5
func TestRevocationsAreReadAsServersAnswerThem(t *testing.T) {
	for _, test := range []struct {
		name    string
		style   RevocationStyle
		answers []string
		want    Revoked // "": an error, after which there is another try
		calls   int
	}{
		{"success", "", []string{"200 "}, RevokedNow, 1},
		{"success with an error in its body, as Keycloak's", "", []string{`200 {"error":"invalid_token"}`}, RevokedNow, 1},
		{"success with HTML", "", []string{"200 <html>"}, RevokedNow, 1},
		{"no such endpoint", "", []string{"404 "}, RevokedUnsupported, 1},
		{"no such method", "", []string{"405 "}, RevokedUnsupported, 1},
		{"refresh tokens cannot be revoked, access tokens can", "", []string{`400 {"error":"unsupported_token_type"}`, "200 "}, RevokedNow, 2},
		{"neither can", "", []string{`400 {"error":"unsupported_token_type"}`}, RevokedUnsupported, 2},
		{"it is dead, as Google says", "", []string{`400 {"error":"invalid_token"}`}, RevokedGone, 1},
		{"it is dead", "", []string{`400 {"error":"invalid_grant"}`}, RevokedGone, 1},
		{"the client is wrong", "", []string{`401 {"error":"invalid_client"}`}, "", 1},
		{"the client is wrong, with 400", "", []string{`400 {"error":"invalid_client"}`}, "", 1},
		{"an error of the server", "", []string{`500 {"error":"invalid_token"}`}, "", 1},
		{"HTML", "", []string{"400 <html>"}, "", 1},
		{"a redirect is not followed", "", []string{"302 "}, "", 1},
		{"GitHub", githubRevocation, []string{"204 "}, RevokedNow, 1},
		{"GitHub, gone", githubRevocation, []string{"404 {}"}, RevokedGone, 1},
		{"GitHub, not a token", githubRevocation, []string{"422 {}"}, RevokedGone, 1},
		{"GitHub, wrong secret", githubRevocation, []string{"401 {}"}, "", 1},
		{"GitHub, away", githubRevocation, []string{"500 "}, "", 1},
		{"Slack", slackRevocation, []string{`200 {"ok":true,"revoked":true}`}, RevokedNow, 1},
		{"Slack, gone", slackRevocation, []string{`200 {"ok":false,"error":"token_revoked"}`}, RevokedGone, 1},
		{"Slack, expired", slackRevocation, []string{`200 {"ok":false,"error":"token_expired"}`}, RevokedGone, 1},
		{"Slack, an error of its own", slackRevocation, []string{`200 {"ok":false,"error":"fatal_error"}`}, "", 1},
		{"Slack, HTML", slackRevocation, []string{"200 <html>"}, "", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newRevocationEndpoint(t, test.answers...)
			c := NewClient(ClientConfig{AllowHTTP: true})
			got, err := c.RevokeTokens(t.Context(), e.provider(test.style), ath.NewSecret(refreshSecret), ath.NewSecret(accessSecret), false)
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("%q, %v; want %q", got, err, test.want)
			}
			if len(e.asked) != test.calls {
				t.Errorf("%d calls, want %d", len(e.asked), test.calls)
			}
		})
	}
}

// proves: V-5
func TestTheRefreshTokenIsRevokedWithItsHint(t *testing.T) {
	e := newRevocationEndpoint(t, "200 ")
	c := NewClient(ClientConfig{AllowHTTP: true})
	p := e.provider("")
	ask := func(refresh, access string) (*http.Request, url.Values) {
		t.Helper()
		if _, err := c.RevokeTokens(t.Context(), p, ath.NewSecret(refresh), ath.NewSecret(access), false); err != nil {
			t.Fatal(err)
		}
		form, _ := url.ParseQuery(e.bodies[len(e.bodies)-1])
		return e.asked[len(e.asked)-1], form
	}
	r, form := ask(refreshSecret, accessSecret)
	want := url.Values{"token": {refreshSecret}, "token_type_hint": {"refresh_token"}, "client_id": {"client id"}, "client_secret": {"the-secret"}}
	if form.Encode() != want.Encode() || r.Method != http.MethodPost || r.Header.Get("Authorization") != "" {
		t.Errorf("%s %v %v", r.Method, form, r.Header)
	}
	p.Refresh.AuthMethod = ClientSecretBasic // which revocations follow
	r, form = ask("", accessSecret)
	want = url.Values{"token": {accessSecret}, "token_type_hint": {"access_token"}}
	if user, secret, _ := r.BasicAuth(); form.Encode() != want.Encode() || user != "client+id" || secret != "the-secret" {
		t.Errorf("%v %q %q", form, user, secret)
	}
}

// proves: V-5
func TestGitHubAndSlackAreAskedInTheirOwnWay(t *testing.T) {
	c := NewClient(ClientConfig{AllowHTTP: true})
	for each, path := range map[bool]string{false: "/revoke/client%20id/grant", true: "/revoke/client%20id/token"} {
		e := newRevocationEndpoint(t, "204 ")
		if _, err := c.RevokeTokens(t.Context(), e.provider(githubRevocation), ath.Secret{}, ath.NewSecret(accessSecret), each); err != nil {
			t.Fatal(err)
		}
		r := e.asked[0]
		user, secret, _ := r.BasicAuth()
		if r.Method != http.MethodDelete || r.URL.EscapedPath() != path || user != "client id" || secret != "the-secret" ||
			r.Header.Get("Accept") != "application/vnd.github+json" || e.bodies[0] != `{"access_token":"`+accessSecret+`"}` {
			t.Errorf("%s %s %v %s", r.Method, r.URL, r.Header, e.bodies[0])
		}
	}
	e := newRevocationEndpoint(t, `200 {"ok":true,"revoked":true}`)
	if _, err := c.RevokeTokens(t.Context(), e.provider(slackRevocation), ath.NewSecret(refreshSecret), ath.NewSecret(accessSecret), false); err != nil {
		t.Fatal(err)
	}
	if r := e.asked[0]; r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer "+accessSecret || e.bodies[0] != "" {
		t.Errorf("%s %v %s", r.Method, r.Header, e.bodies[0])
	}
}

func TestRevocationErrorsHoldNoSecret(t *testing.T) {
	c := NewClient(ClientConfig{AllowHTTP: true})
	basic := base64.StdEncoding.EncodeToString([]byte("client id:the-secret"))
	for _, style := range []RevocationStyle{"", githubRevocation, slackRevocation} {
		for _, said := range []string{refreshSecret, accessSecret, "the-secret"} {
			e := newRevocationEndpoint(t, `400 {"error":"`+said+`","error_description":"`+said+`"}`)
			_, err := c.RevokeTokens(t.Context(), e.provider(style), ath.NewSecret(refreshSecret), ath.NewSecret(accessSecret), false)
			if err == nil {
				t.Fatal("no error")
			}
			for _, secret := range []string{refreshSecret, accessSecret, "the-secret", basic} {
				if sent := map[RevocationStyle]string{"": refreshSecret + " the-secret", slackRevocation: accessSecret}[style]; style != githubRevocation && secret == said && !strings.Contains(sent, said) {
					continue // whoever says it did not hear it from here
				}
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%q holds %q", err, secret)
				}
			}
		}
	}
}

func TestDestinationsOfOneClient(t *testing.T) {
	const of = "https://a.example/token client one https://api.example"
	for other, want := range map[string]bool{
		of: true, "https://a.example/token client one https://other.example": true,
		"https://a.example/token client two https://api.example": false, "https://b.example/token client one https://api.example": false, "": false,
	} {
		if SameClient(of, other) != want || SameClient(other, of) != want {
			t.Errorf("%q: want %v", other, want)
		}
	}
	if SameClient("", "") {
		t.Error("nothing is the same as nothing")
	}
}

// proves: T-7, V-5
func TestAnEndpointThatIsNeverAskedIsWarnedOf(t *testing.T) {
	for more, want := range map[string]int{
		"":                       1,
		`"revocation": "each",`:  0,
		`"revocation": "never",`: 0,
		`"userinfo_endpoint": "https://a.example/me",`:               0,
		`"issuer": "https://a.example", "extra_scopes": ["openid"],`: 0,
		`"issuer": "https://a.example",`:                             1,
		`"user_id_field": "id",`:                                     0,
	} {
		var warned []strict.Fault
		_, faults := Parse("f", []byte(`{"shop": {"display_name": "Shop", "api_base_url": "https://api.a.example", "available_scopes": ["read"], "client_id": "c", "client_secret": "s", `+more+`
			"authorize_endpoint": "https://a.example/authorize", "token_endpoint": "https://a.example/token", "revocation_endpoint": "https://a.example/revoke"}}`),
			Options{Warn: func(f strict.Fault) {
				if strings.Contains(f.Error(), "nothing is revoked there") {
					warned = append(warned, f)
				}
			}})
		if len(faults) > 0 || len(warned) != want {
			t.Errorf("%q: %v, warned of %v", more, faults, warned)
		}
	}
}

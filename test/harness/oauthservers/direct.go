package oauthservers

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/athd/athd/internal/browser"
)

// hangs is how long a server may take, also on a busy machine.
const hangs = time.Minute

// directly marks requests of the test itself, which the proxy does not count.
const directly = "X-Test-Itself"

type formKey struct{}

func withForm(ctx context.Context, form url.Values) context.Context {
	return context.WithValue(ctx, formKey{}, form)
}

func formOf(ctx context.Context) url.Values {
	form, _ := ctx.Value(formKey{}).(url.Values)
	return form
}

// Tokens is a token reply.
type Tokens struct {
	Access  string  `json:"access_token"`
	Refresh string  `json:"refresh_token"`
	ID      string  `json:"id_token"`
	Scope   *string `json:"scope"`
	Expires int     `json:"expires_in"` // seconds
}

// A Reply is what an endpoint answers.
type Reply struct {
	Status int
	Error  string // the code of RFC 6749; "": there is none
	Tokens
}

// String is how a table shows it: 200, or "400 invalid_grant".
func (r Reply) String() string { return strings.TrimSpace(strconv.Itoa(r.Status) + " " + r.Error) }

// Metadata is the server's own, from the place that it has.
func (s *Server) Metadata() map[string]any {
	s.t.Helper()
	res, err := http.Get(s.Proxy.URL + s.kind.ready)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var all map[string]any
	if err := json.NewDecoder(io.LimitReader(res.Body, maxReply)).Decode(&all); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// Endpoint is one that the metadata names; "" if it does not.
func (s *Server) Endpoint(name string) string {
	s.t.Helper()
	text, _ := s.Metadata()[name].(string)
	return text
}

// Grant takes the other client through a grant of a user of [Users], in this
// browser.
func (s *Server) Grant(b *browser.Browser, user string) Tokens {
	s.t.Helper()
	verifier, state := rand.Text()+rand.Text(), rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {s.Other.ID}, "redirect_uri": {s.Other.RedirectURI}, "state": {state},
		"scope": {strings.Join(append([]string{s.Scope}, s.kind.extra...), " ")}, "nonce": {rand.Text()},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for name, value := range s.kind.params {
		q.Set(name, value)
	}
	if s.kind.resource != "" {
		q.Set("resource", s.kind.resource)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), hangs)
	defer cancel()
	b.StopAt(func(u *url.URL) bool { return strings.HasPrefix(u.String(), s.Other.RedirectURI) })
	page, err := b.Get(ctx, s.Endpoint("authorization_endpoint")+"?"+q.Encode())
	if err == nil {
		page, err = s.Allow(ctx, b, page, user)
	}
	if err != nil {
		s.t.Fatalf("%s: the user's browser: %v\n%v", s.Name, err, b.Steps())
	}
	code := page.URL.Query().Get("code")
	if !page.Stopped || code == "" {
		s.t.Fatalf("%s: the browser ends at %s (%d): %s\n%v", s.Name, page.URL, page.Status, page.Text, b.Steps())
	}
	got := s.ask(s.Endpoint("token_endpoint"), url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {s.Other.RedirectURI}, "code_verifier": {verifier},
	})
	if got.Status != http.StatusOK || got.Access == "" {
		s.t.Fatalf("%s: the code is answered %v", s.Name, got)
	}
	return got.Tokens
}

// Refresh refreshes as the other client.
func (s *Server) Refresh(token string) Reply {
	s.t.Helper()
	return s.ask(s.Endpoint("token_endpoint"), url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// RefreshAs refreshes as somebody who knows athd's secret and one of its refresh
// tokens: a thief, or an athd that does it twice.
func (s *Server) RefreshAs(client Client, token string) Reply {
	s.t.Helper()
	as := *s
	as.Other = client
	return as.Refresh(token)
}

// RevokeAs revokes as somebody who knows athd's secret.
func (s *Server) RevokeAs(client Client, token, hint string) Reply {
	s.t.Helper()
	as := *s
	as.Other = client
	return as.Revoke(token, hint)
}

// MetadataPlace says which document the server has.
func (s *Server) MetadataPlace() string {
	if strings.HasSuffix(s.kind.ready, "/oauth-authorization-server") {
		return "RFC 8414"
	}
	return "OpenID"
}

// Rotates reports whether each refresh brings a new refresh token, for one use.
func (s *Server) Rotates() bool { return !s.kind.keeps }

// Takes reports whether the server takes a configuration that is wrong elsewhere:
// one that does not mind how a client authenticates.
func (s *Server) Takes(configuration string) bool {
	return configuration == "wrong auth method" && s.kind.anyMethod
}

// Revoke revokes as the other client.
func (s *Server) Revoke(token, hint string) Reply {
	s.t.Helper()
	return s.ask(s.Endpoint("revocation_endpoint"), url.Values{"token": {token}, "token_type_hint": {hint}})
}

// Lives reports whether the server takes an access token.
func (s *Server) Lives(access string) bool {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.Proxy.URL+s.kind.api, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+access)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode < 300
}

func (s *Server) ask(endpoint string, form url.Values) Reply {
	s.t.Helper()
	if !s.basic {
		form.Set("client_id", s.Other.ID)
		form.Set("client_secret", s.Other.Secret)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), hangs)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set(directly, "yes")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if s.basic {
		req.SetBasicAuth(url.QueryEscape(s.Other.ID), url.QueryEscape(s.Other.Secret))
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Error(err) // not Fatal: the tests call it from several goroutines
		return Reply{}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		s.t.Error(err)
	}
	r := Reply{Status: res.StatusCode}
	var said struct{ Error string }
	if json.Unmarshal(body, &said) == nil {
		r.Error = said.Error
	}
	if json.Unmarshal(body, &r.Tokens) != nil {
		r.Tokens = Tokens{}
	}
	return r
}

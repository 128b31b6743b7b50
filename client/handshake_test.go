package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
)

// A server answers each request with the next reply and keeps what arrived.
type server struct {
	*httptest.Server
	requests []request
	replies  []string
	status   int
	header   http.Header
}

type request struct {
	line   string
	header http.Header
	body   map[string]any
}

func newServer(t *testing.T, status int, replies ...string) *server {
	t.Helper()
	s := &server{replies: replies, status: status, header: http.Header{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := request{line: r.Method + " " + r.RequestURI, header: r.Header}
		if r.Method == http.MethodPost {
			if err := json.NewDecoder(r.Body).Decode(&got.body); err != nil {
				t.Error(err)
			}
		}
		s.requests = append(s.requests, got)
		if len(s.replies) == 0 {
			t.Errorf("unexpected %s", got.line)
			return
		}
		maps.Copy(w.Header(), s.header)
		w.WriteHeader(s.status)
		w.Write([]byte(s.replies[0]))
		s.replies = s.replies[1:]
	}))
	t.Cleanup(s.Close)
	return s
}

func newClient(t *testing.T, server string, agent *client.Identity, change ...func(*client.Config)) *client.Client {
	t.Helper()
	config := client.Config{Server: server, Agent: agent}
	for _, c := range change {
		c(&config)
	}
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func registered(c *client.Config) {
	c.Credentials = client.Credentials{ClientID: "ath_1", Secret: ath.NewSecret("ath_secret_1")}
}

func TestHandshakeOnTheWire(t *testing.T) {
	agent := newIdentity(t)
	s := newServer(t, 200,
		`{"client_id":"ath_1","client_secret":"ath_secret_1","agent_status":"approved","approved_providers":[{"provider_id":"shop","approved_scopes":["products:read"]}]}`,
		`{"client_id":"ath_1","agent_id":"`+id+`","agent_status":"approved","approved_providers":[]}`,
		`{"authorization_url":"https://gw.example/go","ath_session_id":"ath_sess_1"}`,
		`{"access_token":"ath_tk_1","token_type":"Bearer","expires_in":60,"provider_id":"shop","agent_id":"`+id+`","effective_scopes":["products:read"]}`,
		`{"products":[]}`, `{"revoked":true}`, `{"removed":true}`)
	now := time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
	c := newClient(t, s.URL+"/", agent, func(c *client.Config) { c.Now = func() time.Time { return now } })
	ctx := t.Context()

	registration, err := c.Register(ctx, client.Registration{Provider: "shop", Scopes: []string{"products:read"}, Purpose: "shopping"})
	if err != nil || registration.ClientID != "ath_1" || c.Credentials().Secret.Reveal() != "ath_secret_1" {
		t.Fatalf("%+v %v", registration, err)
	}
	if own, err := c.Status(ctx); err != nil || own.Status != "approved" {
		t.Fatalf("%+v %v", own, err)
	}
	authorization, err := c.Authorize(ctx, client.Consent{Provider: "shop", Scopes: []string{"products:read"}})
	if err != nil || authorization.Session.Reveal() != "ath_sess_1" || len(authorization.State.Reveal()) != 32 || authorization.Issuer != s.URL {
		t.Fatalf("%+v %v", authorization, err)
	}
	token, err := c.Exchange(ctx, authorization, ath.NewSecret("ath_code_1"))
	if err != nil || token.Access.Reveal() != "ath_tk_1" || !token.Expires.Equal(now.Add(time.Minute)) || token.Provider != "shop" {
		t.Fatalf("%+v %v", token, err)
	}
	transport, err := c.Transport(token.Access, s.URL+"/api")
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := (&http.Client{Transport: transport}).Get(s.URL + "/api/products"); err != nil {
		t.Fatal(err)
	} else {
		resp.Body.Close()
	}
	if err := c.Revoke(ctx, token.Access); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(ctx, "ath_1"); err != nil || c.Credentials().ClientID != "" {
		t.Fatal(err, c.Credentials())
	}

	want := []struct{ line, members, audience string }{
		{"POST /ath/agents/register", "agent_attestation agent_id developer purpose redirect_uris requested_providers", s.URL},
		{"GET /ath/agents/ath_1", "", ""},
		{"POST /ath/authorize", "agent_attestation client_id provider_id scopes state user_redirect_uri", s.URL},
		{"POST /ath/token", "agent_attestation ath_session_id client_id client_secret code grant_type", s.URL + "/ath/token"},
		{"GET /api/products", "", ""},
		{"POST /ath/revoke", "client_id client_secret token", ""},
		{"DELETE /ath/agents/ath_1", "", ""},
	}
	if len(s.requests) != len(want) {
		t.Fatalf("%d requests", len(s.requests))
	}
	for i, r := range s.requests {
		members := []string{}
		for name := range r.body {
			members = append(members, name)
		}
		slices.Sort(members)
		if r.line != want[i].line || strings.Join(members, " ") != want[i].members {
			t.Errorf("request %d = %s with %v", i, r.line, members)
		}
		if want[i].audience != "" {
			if _, claims := verify(t, r.body["agent_attestation"].(string), publishedKey(t, agent), now); claims["aud"] != want[i].audience {
				t.Errorf("aud of %s = %v, want %s", r.line, claims["aud"], want[i].audience)
			}
		}
	}
	if uri := s.requests[2].body["user_redirect_uri"]; uri != s.URL+"/ath/callback" {
		t.Errorf("user_redirect_uri = %v", uri)
	}
	if h := s.requests[4].header; h.Get("Authorization") != "Bearer ath_tk_1" || h.Get("X-ATH-Agent-ID") != id {
		t.Errorf("the call has %v", h)
	}
	if id, secret, ok := (&http.Request{Header: s.requests[1].header}).BasicAuth(); !ok || id != "ath_1" || secret != "ath_secret_1" {
		t.Errorf("R-8: %v", s.requests[1].header)
	}
	compact, _ := strings.CutPrefix(s.requests[6].header.Get("Authorization"), "Bearer ")
	if _, claims := verify(t, compact, publishedKey(t, agent), now); claims["aud"] != s.URL {
		t.Errorf("R-7: aud = %v", claims["aud"])
	}
}

func TestRefusalSaysWhatToActOn(t *testing.T) {
	now := time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
	tests := []struct {
		name, reply, retryAfter string
		want                    client.Error
	}{
		{"of the protocol", `{"code":"RATE_LIMITED","message":"wait","details":{"decision_id":"dec_1"}}`, "7",
			client.Error{Status: 429, Code: ath.RateLimited, Message: "wait", DecisionID: "dec_1", RetryAfter: 7 * time.Second}},
		{"with a date", `{"code":"RATE_LIMITED","message":"wait"}`, "Sat, 28 Nov 2026 20:01:00 GMT",
			client.Error{Status: 429, Code: ath.RateLimited, Message: "wait", RetryAfter: time.Minute}},
		{"with a date that is past", `{"code":"RATE_LIMITED","message":"wait"}`, "Sat, 28 Nov 2026 19:01:00 GMT",
			client.Error{Status: 429, Code: ath.RateLimited, Message: "wait"}},
		{"for ever", `{"code":"RATE_LIMITED","message":"wait"}`, "2000000000",
			client.Error{Status: 429, Code: ath.RateLimited, Message: "wait", RetryAfter: 24 * time.Hour}},
		{"of something else", `upstream connect error`, "", client.Error{Status: 429}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, 429, tt.reply)
			if tt.retryAfter != "" {
				s.header.Set("Retry-After", tt.retryAfter)
			}
			c := newClient(t, s.URL, newIdentity(t), registered, func(c *client.Config) { c.Now = func() time.Time { return now } })
			_, err := c.Authorize(t.Context(), client.Consent{Provider: "shop", Scopes: []string{"products:read"}})
			e, ok := errors.AsType[*client.Error](err)
			if !ok {
				t.Fatalf("err = %v", err)
			}
			got := *e
			got.Details = nil
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) || client.CodeOf(err) != tt.want.Code {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestRepliesAreBounded(t *testing.T) {
	long := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil { // without an end
			io.WriteString(w, strings.Repeat(" ", 64<<10))
		}
	}))
	t.Cleanup(long.Close)
	elsewhere := newServer(t, 200, "{}")
	redirect := newServer(t, 302, "")
	redirect.header.Set("Location", elsewhere.URL)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // only then does the server see that the client has gone
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close)
	for name, server := range map[string]string{"long": long.URL, "redirect": redirect.URL, "silent": silent.URL} {
		c := newClient(t, server, newIdentity(t), registered, func(c *client.Config) {
			if name == "silent" {
				c.Timeout = 50 * time.Millisecond
			}
		})
		if _, err := c.Authorize(t.Context(), client.Consent{Provider: "p", Scopes: []string{"s"}}); err == nil {
			t.Errorf("%s: no error", name)
		} else if name == "long" && !strings.Contains(err.Error(), "longer than 1048576 bytes") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(elsewhere.requests) > 0 {
		t.Error("the redirect was followed")
	}
}

func TestLinkForTheUserIsAWebAddress(t *testing.T) {
	for _, link := range []string{"javascript:alert(1)", "/relative", "https://gw.example/\\u001b[2J", "https:///x", "file:///etc/passwd", "javascript://gw.example/%0aalert(1)", "file://gw.example/x"} {
		s := newServer(t, 200, `{"authorization_url":"`+link+`","ath_session_id":"ath_sess_1"}`)
		c := newClient(t, s.URL, newIdentity(t), registered)
		if a, err := c.Authorize(t.Context(), client.Consent{Provider: "p", Scopes: []string{"s"}}); err == nil {
			t.Errorf("%q was taken: %v", link, a.URL)
		}
	}
}

// A token that nobody can use, or that is another agent's, is none.
func TestTokensOfOthersAreRefused(t *testing.T) {
	for name, reply := range map[string]string{
		"another agent's":    `{"access_token":"ath_tk_1","token_type":"Bearer","expires_in":60,"provider_id":"shop","agent_id":"https://other.example/agent.json"}`,
		"nobody's":           `{"access_token":"ath_tk_1","token_type":"Bearer","expires_in":60,"provider_id":"shop"}`,
		"of another type":    `{"access_token":"ath_tk_1","token_type":"mac","expires_in":60,"provider_id":"shop","agent_id":"` + id + `"}`,
		"not there":          `{"token_type":"Bearer","expires_in":60,"provider_id":"shop","agent_id":"` + id + `"}`,
		"no text":            `{"access_token":{"a":1},"token_type":"Bearer","agent_id":"` + id + `"}`,
		"of an endless life": `{"access_token":"ath_tk_1","token_type":"Bearer","expires_in":1e300,"agent_id":"` + id + `"}`,
	} {
		s := newServer(t, 200, reply)
		c := newClient(t, s.URL, newIdentity(t), registered)
		a := &client.Authorization{Session: ath.NewSecret("ath_sess_1"), State: ath.NewSecret("state-1"), Issuer: s.URL}
		if token, err := c.Exchange(t.Context(), a, ath.NewSecret("ath_code_1")); err == nil {
			t.Errorf("%s: %+v", name, token)
		} else if strings.Contains(err.Error(), "ath_tk_1") {
			t.Errorf("%s: the error shows the token: %v", name, err)
		}
	}
}

// C-6, RFC 9207.
// proves: C-6
func TestCodeComesOnlyWithTheAuthorizationsOwnAnswer(t *testing.T) {
	a := &client.Authorization{Session: ath.NewSecret("ath_sess_1"), State: ath.NewSecret("state-1"), Issuer: "https://gw.example"}
	good := url.Values{"state": {"state-1"}, "ath_session_id": {"ath_sess_1"}, "iss": {"https://gw.example"}, "code": {"ath_code_1"}}
	if code, err := a.Code(good); err != nil || code.Reveal() != "ath_code_1" {
		t.Fatal(code.Reveal(), err)
	}
	isOther := func(err error) bool { return errors.Is(err, client.ErrOtherAnswer) }
	is := func(err error) bool { return err != nil && !isOther(err) }
	denied := func(err error) bool {
		e, ok := errors.AsType[*client.CallbackError](err)
		return ok && e.Denied()
	}
	issuer := func(err error) bool { _, ok := errors.AsType[*client.IssuerError](err); return ok }
	for _, tt := range []struct {
		name   string
		change url.Values // no value: taken away
		want   func(error) bool
	}{
		{"another state", url.Values{"state": {"state-2"}}, isOther},
		{"no state", url.Values{"state": nil}, isOther},
		{"two states", url.Values{"state": {"state-1", "state-1"}}, isOther},
		{"another session", url.Values{"ath_session_id": {"ath_sess_2"}}, isOther},
		{"another issuer", url.Values{"iss": {"https://evil.example"}}, issuer},
		{"no issuer", url.Values{"iss": nil}, issuer},
		{"no code", url.Values{"code": nil}, is},
		{"two codes", url.Values{"code": {"a", "b"}}, is},
		{"denied", url.Values{"error": {"access_denied"}}, denied},
		{"denied to somebody else", url.Values{"error": {"access_denied"}, "state": {"x"}}, isOther},
	} {
		q := url.Values{}
		maps.Copy(q, good)
		for name, values := range tt.change {
			if q[name] = values; values == nil {
				delete(q, name)
			}
		}
		if code, err := a.Code(q); !tt.want(err) || !code.IsZero() {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := (&client.Authorization{}).Code(url.Values{"state": {""}, "ath_session_id": {""}, "iss": {""}, "code": {"x"}}); err == nil {
		t.Error("the zero authorization took an answer")
	}
}

func TestServerIsCheckedBeforeAnythingIsSent(t *testing.T) {
	for server, insecure := range map[string]bool{
		"": true, "gateway.example": true, "https://gw.example/path": true, "https://gw.example?x=1": true, "https://u:p@gw.example": true,
		"ftp://gw.example": true, "http://gw.example": false,
	} {
		if _, err := client.New(client.Config{Server: server, InsecureHTTP: insecure}); err == nil {
			t.Errorf("%q was taken", server)
		}
	}
	for server, insecure := range map[string]bool{"https://gw.example/": false, "http://127.0.0.1:8080": false, "http://localhost:1": false, "http://gw.example": true} {
		if c, err := client.New(client.Config{Server: server, InsecureHTTP: insecure}); err != nil || strings.HasSuffix(c.Server(), "/") {
			t.Errorf("%q: %v", server, err)
		}
	}
	c := newClient(t, "https://gw.example", nil)
	if _, err := c.Register(t.Context(), client.Registration{Provider: "p", Scopes: []string{"s"}}); err == nil {
		t.Error("nobody registered")
	}
}

func TestOneClientForManyGoroutines(t *testing.T) {
	agent := newIdentity(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"client_id":"ath_1","client_secret":"ath_secret_1","revoked":true}`))
	}))
	t.Cleanup(srv.Close)
	c := newClient(t, srv.URL, agent, registered)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.Register(t.Context(), client.Registration{Provider: "p", Scopes: []string{"s"}}); err != nil {
				t.Error(err)
			}
			if err := c.Revoke(t.Context(), ath.NewSecret("ath_tk_1")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

package walk

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

var cookies = regexp.MustCompile(`(?i)\r\ncookie: ?([^\r]*)`)

// People and agents share one API: what people send goes up as they sent it,
// but for what is ours, and an ATH token is judged wherever it stands.
// proves: P-1, P-5
func TestPeopleAndAgentsOnOneAPI(t *testing.T) {
	s := stage.Start(t, stage.Options{Mode: "native", Unauthenticated: "passthrough"})
	c := s.NewAgent("a")
	token := s.Token(c, stage.App, "products:read")
	host := "Host: " + s.Host()
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+token.Access.Reveal()))

	for _, tt := range []struct {
		name   string
		lines  []string
		saw    string // the request line at the API
		auth   string // Authorization at the API, "" for none
		cookie string
	}{
		{"no credential", []string{"GET /api/products HTTP/1.1", host}, "GET /api/products HTTP/1.1", "", ""},
		{"their own token and cookies", []string{"POST /api/orders HTTP/1.1", host, "Content-Length: 0", "Authorization: Bearer eyJ.e30.x", "Cookie: session=1; theme=dark"},
			"POST /api/orders HTTP/1.1", "Bearer eyJ.e30.x", "session=1; theme=dark"},
		{"a path that no agent may write", []string{"GET /a;v=1/b?x=%2e HTTP/1.1", host}, "GET /a;v=1/b?x=%2e HTTP/1.1", "", ""},
		{"slashes that no agent may write", []string{"GET //a///b// HTTP/1.1", host}, "GET //a///b// HTTP/1.1", "", ""},
		{"a method that no agent may use", []string{"PROPFIND /dav HTTP/1.1", host}, "PROPFIND /dav HTTP/1.1", "", ""},
		{"a cookie of ours among theirs", []string{"GET / HTTP/1.1", host, "Cookie: a=b; ath_consent_x=1.s.2; c=d"}, "GET / HTTP/1.1", "", "a=b; c=d"},
		{"a cookie of ours alone", []string{"GET / HTTP/1.1", host, "Cookie: ath_consent_x=1.s.2"}, "GET / HTTP/1.1", "", ""},
		{"cookies in two headers", []string{"GET / HTTP/1.1", host, "Cookie: a=b", "Cookie: __Host-ath_consent_x=1; c=d"}, "GET / HTTP/1.1", "", "a=b; c=d"},
		{"headers of ours", []string{"GET / HTTP/1.1", host, "X-ATH-Agent-ID: " + c.Agent().ID(), "X-ATH-User-Token: u", "X-Ath-Other: o"}, "GET / HTTP/1.1", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.App.Forget()
			r := raw(t, s, tt.lines...)
			saw := s.App.Bytes()
			if r.status != http.StatusOK || !strings.HasPrefix(saw, tt.saw+"\r\n") {
				t.Fatalf("%d %s; the API saw %q", r.status, r.body, saw)
			}
			if got := firstOf(bearer, saw); got != tt.auth {
				t.Errorf("P-5: Authorization is %q, want %q", got, tt.auth)
			}
			if got := firstOf(cookies, saw); got != tt.cookie || strings.Count(strings.ToLower(saw), "\r\ncookie:") > 1 {
				t.Errorf("P-5: Cookie is %q, want %q", got, tt.cookie)
			}
			if strings.Contains(strings.ToLower(saw), "x-ath") {
				t.Errorf("P-5: a header of ours went up: %s", saw)
			}
			for _, issued := range s.OAuth.Issued() {
				if strings.Contains(saw, issued) {
					t.Error("P-5: a person's request carries a user's token")
				}
			}
		})
	}
	s.Envoy.WaitAccessLog("passed_through")

	for _, tt := range []struct {
		name, code string
		lines      []string
	}{
		{"P-2: an agent's token without its id", "AGENT_IDENTITY_MISMATCH", []string{"GET /api/products HTTP/1.1", host, "Authorization: Bearer " + token.Access.Reveal()}},
		{"P-1: a malformed one", "TOKEN_INVALID", []string{"GET /api/products HTTP/1.1", host, "Authorization: Bearer ath_tk_x"}},
		{"P-1: another scheme", "TOKEN_INVALID", []string{"GET /api/products HTTP/1.1", host, "Authorization: ATH " + token.Access.Reveal()}},
		{"P-1: in HTTP Basic", "TOKEN_INVALID", []string{"GET /api/products HTTP/1.1", host, "Authorization: " + basic}},
		{"P-1: beside a person's", "TOKEN_INVALID", []string{"GET /api/products HTTP/1.1", host, "Authorization: Bearer eyJ.e30.x", "Authorization: Bearer " + token.Access.Reveal()}},
		{"P-5: in the query", "INVALID_REQUEST", []string{"GET /api/products?access_token=" + token.Access.Reveal() + " HTTP/1.1", host}},
		{"P-1: in a cookie", "TOKEN_INVALID", []string{"GET /api/products HTTP/1.1", host, "Cookie: t=" + token.Access.Reveal()}},
		{"P-4: outside the scopes", "SCOPE_NOT_APPROVED", request(s, "GET", "/api/orders", token.Access.Reveal(), c.Agent().ID())},
		{"P-1: gateway mode is the agents' own", "TOKEN_INVALID", []string{"GET /ath/proxy/shop/api/products HTTP/1.1", host}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.App.Forget()
			if r := raw(t, s, tt.lines...); r.code() != tt.code {
				t.Errorf("%d %s, want %s", r.status, r.body, tt.code)
			}
			if saw := s.App.Bytes(); saw != "" {
				t.Errorf("the API saw %q", saw)
			}
		})
	}

	t.Run("an agent's cookies stay behind", func(t *testing.T) {
		s.App.Forget()
		r := raw(t, s, request(s, "GET", "/api/products", token.Access.Reveal(), c.Agent().ID(), "Cookie: session=stolen")...)
		saw := s.App.Bytes()
		if r.status != http.StatusOK || strings.Contains(saw, "stolen") || strings.Contains(saw, token.Access.Reveal()) || firstOf(bearer, saw) == "" {
			t.Errorf("P-5: %d; the API saw %q", r.status, saw)
		}
	})

	t.Run("over HTTP/2, where each cookie is a header", func(t *testing.T) {
		s.App.Forget()
		client := &http.Transport{Protocols: new(http.Protocols)}
		client.Protocols.SetUnencryptedHTTP2(true)
		defer client.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.Public+"/api/products", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header["Cookie"] = []string{"a=b; ath_consent_x=1", "c=d"}
		resp, err := client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := firstOf(cookies, s.App.Bytes()); resp.StatusCode != http.StatusOK || got != "a=b; c=d" {
			t.Errorf("P-5: %d; Cookie is %q", resp.StatusCode, got)
		}
	})
}

// firstOf returns what the pattern's group matched first.
func firstOf(pattern *regexp.Regexp, text string) string {
	if m := pattern.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

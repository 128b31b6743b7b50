package provider_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// refreshed asks a token endpoint that answers with one body, and returns what it
// was asked.
func refreshed(t *testing.T, more, body string, status int) (got provider.Tokens, form url.Values, header http.Header, err error) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		form, header = r.PostForm, r.Header
		w.WriteHeader(status)
		w.Write([]byte(body))
	}))
	defer s.Close()
	p := refreshProvider(t, s.URL, more)
	c := provider.NewClient(provider.ClientConfig{AllowHTTP: true})
	got, err = c.RefreshTokens(t.Context(), p, ath.NewSecret("refresh-token-1"), ath.Scopes{"a", "b", "given-to-somebody-else"})
	return got, form, header, err
}

func refreshProvider(t *testing.T, at, more string) *provider.Provider {
	t.Helper()
	if more != "" {
		more = "," + more
	}
	list, faults := provider.Parse("f", []byte(`{"p": {"display_name": "P", "available_scopes": ["a", "b"], "authorize_endpoint": "`+at+`/a", "token_endpoint": "`+at+`/t",
		"api_base_url": "https://api.example", "client_id": "the client", "client_secret": "hunter2:hunter2"`+more+`}}`), provider.Options{AllowHTTP: true})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return list[0]
}

func TestARefreshSendsWhatTheConfigurationSays(t *testing.T) {
	const reply = `{"access_token":"x","token_type":"Bearer"}`
	for name, tt := range map[string]struct {
		more  string
		want  url.Values
		basic bool
	}{
		"as RFC 6749 says, and no scope":                   {"", url.Values{"client_id": {"the client"}, "client_secret": {"hunter2:hunter2"}}, false},
		"Basic, as for the code":                           {`"token_auth_method": "client_secret_basic"`, url.Values{}, true},
		"Basic for the refresh only":                       {`"refresh_token_auth_method": "client_secret_basic"`, url.Values{}, true},
		"none for the refresh":                             {`"refresh_token_auth_method": "none"`, url.Values{"client_id": {"the client"}}, false},
		"scopes again":                                     {`"refresh_scope": true`, url.Values{"client_id": {"the client"}, "client_secret": {"hunter2:hunter2"}, "scope": {"a b"}}, false},
		"scopes, and what is asked for beside the agent's": {`"refresh_scope": true, "extra_scopes": ["offline_access"]`, url.Values{"client_id": {"the client"}, "client_secret": {"hunter2:hunter2"}, "scope": {"a b offline_access"}}, false},
		"resource, of RFC 8707":                            {`"resource": "https://api.example/v1"`, url.Values{"client_id": {"the client"}, "client_secret": {"hunter2:hunter2"}, "resource": {"https://api.example/v1"}}, false},
		"extra_token_params":                               {`"extra_token_params": {"audience": "x"}`, url.Values{"client_id": {"the client"}, "client_secret": {"hunter2:hunter2"}, "audience": {"x"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, form, header, err := refreshed(t, tt.more, reply, 200)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Set("grant_type", "refresh_token")
			tt.want.Set("refresh_token", "refresh-token-1")
			if form.Encode() != tt.want.Encode() {
				t.Errorf("sent %v", form)
			}
			if basic := strings.HasPrefix(header.Get("Authorization"), "Basic "); basic != tt.basic {
				t.Errorf("Authorization: %t", basic)
			}
		})
	}
}

// How a client authenticates may be the issuer's to say, for a refresh as for a
// code; what is written for either stands.
func TestARefreshAuthenticatesAsTheIssuerSays(t *testing.T) {
	var basic bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _, basic = r.BasicAuth()
		w.Write([]byte(`{"access_token":"x","token_type":"Bearer"}`))
	}))
	defer s.Close()
	for _, tt := range []struct {
		written map[string]any
		want    bool
	}{
		{nil, true},
		{map[string]any{"refresh_token_auth_method": "client_secret_post"}, false},
		{map[string]any{"token_auth_method": "client_secret_post"}, false},
	} {
		p, err := byIssuer(t, s.URL, tt.written).With(document(t, s.URL, map[string]any{"token_endpoint_auth_methods_supported": []string{"client_secret_basic"}}), "")
		if err != nil {
			t.Fatal(err)
		}
		c := provider.NewClient(provider.ClientConfig{AllowHTTP: true, AllowPrivate: true})
		if _, err := c.RefreshTokens(t.Context(), p, ath.NewSecret("r"), nil); err != nil || basic != tt.want {
			t.Errorf("%v: Basic %t, %v", tt.written, basic, err)
		}
	}
}

// What has no endpoint yet is asked nothing, and no token counts as spent.
func TestARefreshWaitsForTheIssuersEndpoints(t *testing.T) {
	c := provider.NewClient(provider.ClientConfig{AllowHTTP: true})
	p := byIssuer(t, "http://login.example.com", nil)
	_, err := c.RefreshTokens(t.Context(), p, ath.NewSecret("r"), nil)
	if e, ok := errors.AsType[*provider.ExchangeError](err); !ok || !e.Unsent || p.RefusesRefresh(err) {
		t.Errorf("%v", err)
	}
}

// Slack answers a refresh with the tokens at the top, also for a user's; the kind
// must be the one that was asked for.
func TestSlacksRefreshHasItsTokensAtTheTop(t *testing.T) {
	const slack = `"preset": "slack", "scope_rules": []`
	got, _, _, err := refreshed(t, slack, `{"ok":true,"access_token":"xoxe.xoxp-1","expires_in":43200,"refresh_token":"xoxe-1","token_type":"user","scope":"a,b"}`, 200)
	if err != nil || !got.Access.Equal("xoxe.xoxp-1") || !got.Refresh.Equal("xoxe-1") || !slices.Equal(got.Scopes, ath.Scopes{"a", "b"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, _, _, err := refreshed(t, slack, `{"ok":true,"access_token":"xoxb-1","token_type":"bot"}`, 200); err == nil {
		t.Error("a bot's token in place of a user's was taken")
	}
	_, _, _, err = refreshed(t, slack, `{"ok":false,"error":"invalid_refresh_token"}`, 200)
	if p := refreshProvider(t, "https://a.example", slack); !p.RefusesRefresh(err) {
		t.Errorf("%v refuses nothing", err)
	}
	for _, preset := range []string{"github", "github-app"} {
		p := refreshProvider(t, "https://a.example", `"preset": "`+preset+`", "scope_rules": []`)
		if !p.RefusesRefresh(&provider.ExchangeError{Code: "bad_refresh_token", Status: 200}) {
			t.Errorf("%s: bad_refresh_token refuses nothing", preset)
		}
	}
}

// Whether a call may have spent the token is what the next one depends on.
func TestARefreshThatNeverLeftSaysSo(t *testing.T) {
	c := provider.NewClient(provider.ClientConfig{AllowHTTP: true})
	ask := func(ctx context.Context, at string) *provider.ExchangeError {
		t.Helper()
		_, err := c.RefreshTokens(ctx, refreshProvider(t, at, ""), ath.NewSecret("refresh-token-1"), nil)
		e, ok := errors.AsType[*provider.ExchangeError](err)
		if !ok {
			t.Fatalf("%T: %v", err, err)
		}
		if strings.Contains(err.Error(), "refresh-token-1") {
			t.Errorf("the error holds the token: %v", err)
		}
		return e
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	l.Close()
	if e := ask(t.Context(), nobody); !e.Unsent || e.Status != 0 {
		t.Errorf("nobody listens: %+v", e)
	}
	tlsServer := httptest.NewTLSServer(nil)
	defer tlsServer.Close()
	if e := ask(t.Context(), tlsServer.URL); !e.Unsent {
		t.Errorf("a certificate that is not trusted: %+v", e)
	}
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		<-r.Context().Done()
	}))
	defer hangs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if e := ask(ctx, hangs.URL); e.Unsent || e.Status != 0 || !e.Temporary {
		t.Errorf("no answer in time: %+v", e)
	}
	cut := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer cut.Close()
	for range 3 { // on a connection that is new, and never again on another
		if e := ask(t.Context(), cut.URL); e.Unsent || e.Status != 0 {
			t.Errorf("the connection ends: %+v", e)
		}
	}
	plain := provider.NewClient(provider.ClientConfig{})
	if _, err := plain.RefreshTokens(t.Context(), refreshProvider(t, cut.URL, ""), ath.NewSecret("r"), nil); err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("over http: %v", err)
	}
}

// A connection that the server has closed meanwhile does not have the request sent
// twice.
func TestARefreshIsSentOnce(t *testing.T) {
	var calls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1)%2 == 0 {
			panic(http.ErrAbortHandler)
		}
		w.Write([]byte(`{"access_token":"x","token_type":"Bearer"}`))
	}))
	defer s.Close()
	c := provider.NewClient(provider.ClientConfig{AllowHTTP: true})
	p := refreshProvider(t, s.URL, "")
	for i := int64(1); i <= 6; i++ {
		_, err := c.RefreshTokens(t.Context(), p, ath.NewSecret("r"), nil)
		if (err == nil) != (i%2 == 1) || calls.Load() != i {
			t.Fatalf("after %d refreshes the server had %d requests (%v)", i, calls.Load(), err)
		}
	}
}

func TestMarginIsAMinuteOrAFifthOfTheLife(t *testing.T) {
	for _, tt := range []struct {
		more       string
		life, want time.Duration
	}{
		{"", time.Hour, time.Minute},
		{"", 5 * time.Minute, time.Minute},
		{"", time.Minute, 12 * time.Second},
		{"", 0, 0},
		{"", -time.Second, 0},
		{`"refresh_margin": "30s"`, time.Hour, 30 * time.Second},
		{`"refresh_margin": "30s"`, 40 * time.Second, 20 * time.Second},
		{`"refresh_margin": "10m"`, time.Hour, 10 * time.Minute},
		{`"refresh_margin": "0s"`, time.Hour, 0},
	} {
		p := refreshProvider(t, "https://a.example", tt.more)
		if got := p.Margin(tt.life); got != tt.want || got > p.MaxMargin() {
			t.Errorf("%s of %v: %v, at most %v", tt.more, tt.life, got, p.MaxMargin())
		}
	}
}

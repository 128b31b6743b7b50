package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
)

const refusal = `{"code":"SCOPE_NOT_APPROVED","message":"no","details":{"decision_id":"dec_1"}}`

// through makes calls as an agent.
func through(t *testing.T, c *client.Client, api string) *http.Client {
	t.Helper()
	transport, err := c.Transport(ath.NewSecret("ath_tk_1"), api)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: transport}
}

// proves: P-9
func TestOnlyTheServersOwnRefusalIsAnError(t *testing.T) {
	tests := []struct {
		name, method, body string
		status             int
		decision           []string
		isError            bool
	}{
		{"the server's", "GET", refusal, 403, []string{"dec_1"}, true},
		{"to HEAD, which has no body", "HEAD", "", 403, []string{"dec_1"}, true},
		{"the API's, which looks like the server's", "GET", refusal, 403, nil, false},
		{"with the id of another decision", "GET", refusal, 403, []string{"dec_2"}, false},
		{"with two ids", "GET", refusal, 403, []string{"dec_1", "dec_1"}, false},
		{"with an empty id, which is left of an API's own", "GET", refusal, 403, []string{""}, false},
		{"to HEAD, with an empty id", "HEAD", "", 403, []string{""}, false},
		{"with an id, but no refusal", "GET", "not found", 404, []string{"dec_1"}, false},
		{"a success with an id", "GET", refusal, 200, []string{"dec_1"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["X-Ath-Decision-Id"] = tt.decision
				w.Header().Set("Retry-After", "3")
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			}))
			t.Cleanup(srv.Close)
			req, err := http.NewRequestWithContext(t.Context(), tt.method, srv.URL+"/x", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := through(t, newClient(t, srv.URL, newIdentity(t)), srv.URL).Do(req)
			if !tt.isError {
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if body, err := io.ReadAll(resp.Body); err != nil || string(body) != tt.body || resp.StatusCode != tt.status {
					t.Errorf("%d %s, %v", resp.StatusCode, body, err)
				}
				return
			}
			e, ok := errors.AsType[*client.Error](err)
			if !ok || e.Status != tt.status || e.DecisionID != "dec_1" || e.RetryAfter != 3*time.Second {
				t.Fatalf("err = %v", err)
			}
			if tt.method != "HEAD" && (e.Code != ath.ScopeNotApproved || client.CodeOf(err) != ath.ScopeNotApproved) {
				t.Errorf("code = %q", e.Code)
			}
		})
	}
}

func TestTokenGoesToItsOwnHostOnly(t *testing.T) {
	var elsewhere []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, r.Header.Get("Authorization"))
	}))
	t.Cleanup(other.Close)
	asked := 0
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, other.URL+"/stolen", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(own.Close)
	h := through(t, newClient(t, own.URL, newIdentity(t)), own.URL+"/api")
	for _, target := range []string{
		own.URL + "/api/redirects", other.URL + "/api", strings.Replace(own.URL, "http://", "https://", 1) + "/api",
		strings.Replace(own.URL, "http://", "http://user:password@", 1) + "/api",
	} {
		resp, err := h.Get(target)
		if err == nil {
			resp.Body.Close()
		}
		if _, ok := errors.AsType[*client.OtherHostError](err); !ok {
			t.Errorf("%s: %v", target, err)
		}
	}
	if len(elsewhere) > 0 || asked != 1 {
		t.Errorf("another host got %v, its own one was asked %d times", elsewhere, asked)
	}
}

// A proxy goes by Host, and by what a request line of its own says: not by the
// URL's host.
func TestTokenIsForNoOtherHostBehindAProxy(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
	}))
	t.Cleanup(proxy.Close)
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, "http://gw.example", newIdentity(t), func(c *client.Config) {
		c.InsecureHTTP, c.Transport = true, &http.Transport{Proxy: http.ProxyURL(at), DisableKeepAlives: true}
	})
	transport, err := c.Transport(ath.NewSecret("ath_tk_1"), "http://gw.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*http.Request){
		"Host":   func(r *http.Request) { r.Host = "other.example" },
		"opaque": func(r *http.Request) { r.URL.Opaque = "//other.example/x" },
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://gw.example/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(req)
		resp, err := transport.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		if _, ok := errors.AsType[*client.OtherHostError](err); !ok || len(asked) > 0 {
			t.Errorf("%s: %v, the proxy was asked for %v", name, err, asked)
		}
		asked = nil
	}
}

func TestCallKeepsTheCallersRequest(t *testing.T) {
	var got http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	t.Cleanup(srv.Close)
	req, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+"/x", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/plain")
	req.Header.Set("Authorization", "Bearer mine")
	req.Header["authorization"], req.Header["X-ATH-Agent-ID"] = []string{"Bearer other"}, []string{"https://other.example"} // names as nobody's Set writes them
	resp, err := through(t, newClient(t, srv.URL, newIdentity(t)), srv.URL).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got.Get("Accept") != "text/plain" || !slices.Equal(got.Values("Authorization"), []string{"Bearer ath_tk_1"}) || !slices.Equal(got.Values("X-ATH-Agent-ID"), []string{id}) {
		t.Errorf("sent %v", got)
	}
	if req.Header.Get("Authorization") != "Bearer mine" || req.Header.Get("X-ATH-Agent-ID") != "" {
		t.Errorf("the caller's request became %v", req.Header)
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	for name, write := range map[string]func(http.ResponseWriter, *http.Request){
		"long":   func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", 1<<20)) },
		"silent": func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); <-r.Context().Done() },
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-ATH-Decision-ID", "dec_1")
			w.WriteHeader(403)
			write(w, r)
		}))
		t.Cleanup(srv.Close)
		c := newClient(t, srv.URL, newIdentity(t), func(c *client.Config) { c.Timeout = 100 * time.Millisecond })
		if resp, err := through(t, c, srv.URL).Get(srv.URL); err == nil {
			resp.Body.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTransportWantsATokenAndAnAPI(t *testing.T) {
	c := newClient(t, "https://gw.example", newIdentity(t))
	for _, api := range []string{"", "/api", "http://api.example", "https://u:p@api.example", "https://api.example?x=1"} {
		if _, err := c.Transport(ath.NewSecret("t"), api); err == nil {
			t.Errorf("API %q was taken", api)
		}
	}
	if _, err := c.Transport(ath.Secret{}, "https://api.example"); err == nil {
		t.Error("an empty token was taken")
	}
}

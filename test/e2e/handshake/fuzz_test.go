package handshake

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/ratelimit"
)

// A target is a companion for fuzzers. It fetches nothing, so that no
// agent_id that a fuzzer thinks of leads anywhere, and it limits no one.
type target struct {
	handler http.Handler
	*actor
}

func newTarget(f *testing.F, consent string) *target {
	quiet := slog.New(slog.DiscardHandler)
	w := newWorld(f, func(c *settings) {
		c.Logger, c.Audit, c.Consent = quiet, audit.New(audit.Config{Writer: io.Discard}), consent
		c.Limits = httpapi.Limits{PerAddress: ratelimit.Unlimited, Registrations: ratelimit.Unlimited, PerAgent: ratelimit.Unlimited, SessionsPerAgent: math.MaxInt32}
		c.SkipAttestation = true
		store := c.Store
		var err error
		if c.Attest, err = attest.New(attest.Config{SkipVerification: true, AllowHTTP: true,
			Once: func(ctx context.Context, a ath.AgentID, what, value string, ttl time.Duration) (bool, error) {
				return store.Once(ctx, a.Tag(), what, value, ttl)
			}}); err != nil {
			f.Fatal(err)
		}
	})
	companion, _, err := build(w.config)
	if err != nil {
		f.Fatal(err)
	}
	t := &target{handler: companion, actor: w.actor("fuzzed")}
	if r := t.register("gallery", "pictures:read"); r.status != http.StatusCreated {
		f.Fatalf("%d %s", r.status, r.raw)
	}
	return t
}

// fill puts what a fuzzer cannot guess in the place of its marks.
func (t *target) fill(s string) string {
	for mark, value := range map[string]func() string{
		"{agent}":       func() string { return t.id },
		"{client}":      func() string { return t.clientID },
		"{secret}":      func() string { return t.secret },
		"{attestation}": func() string { return t.attest(t.w.public) },
		"{exchange}":    func() string { return t.attest(t.w.public + "/ath/token") },
		"{session}":     func() string { _, session := t.open(); return session },
		"{state}":       func() string { state, _ := t.open(); return state },
	} {
		if strings.Contains(s, mark) {
			s = strings.ReplaceAll(s, mark, value())
		}
	}
	return s
}

// open opens a session.
func (t *target) open() (state, session string) {
	body, err := json.Marshal(t.authorization("gallery", "pictures:read"))
	if err != nil {
		panic(err)
	}
	rec := t.ask("POST", "/ath/authorize", string(body), "application/json", "")
	var reply struct {
		URL     string `json:"authorization_url"`
		Session string `json:"ath_session_id"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &reply); err != nil || rec.Code != http.StatusOK {
		panic(fmt.Sprint(rec.Code, rec.Body))
	}
	u, err := url.Parse(reply.URL)
	if err != nil {
		panic(err)
	}
	return u.Query().Get("state"), reply.Session
}

// ask goes past net/http's own reading, which would refuse much of it.
func (t *target) ask(method, path, body, media, authorization string) *httptest.ResponseRecorder {
	u, err := url.Parse("http://gateway.example" + path)
	if err != nil {
		return nil
	}
	r := (&http.Request{
		Method: method, URL: u, Host: u.Host, RemoteAddr: "127.0.0.1:1", Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(body)),
	}).WithContext(context.Background())
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	rec := httptest.NewRecorder()
	t.handler.ServeHTTP(rec, r)
	return rec
}

// answered holds for whatever was asked: no fault of ours, and either JSON, in
// the form of E-1 where it is a refusal, or a page that runs nothing, or a way
// on.
func answered(t *testing.T, rec *httptest.ResponseRecorder, statuses ...int) {
	t.Helper()
	if rec.Code >= 500 && !slices.Contains(statuses, rec.Code) {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	switch media := rec.Header().Get("Content-Type"); {
	case media == "application/json":
		var reply map[string]any
		if err := json.Unmarshal(rec.Body.Bytes(), &reply); err != nil {
			t.Fatalf("E-1: %d %q: %v", rec.Code, rec.Body, err)
		}
		details, _ := reply["details"].(map[string]any)
		if rec.Code >= 400 && (reply["code"] == "" || reply["message"] == "" || details["decision_id"] == nil) {
			t.Fatalf("E-1: %d %q", rec.Code, rec.Body)
		}
	case strings.HasPrefix(media, "text/html") && rec.Code != http.StatusFound:
		if !strings.Contains(rec.Header().Get("Content-Security-Policy"), "default-src 'none'") || strings.Contains(rec.Body.String(), "<script") {
			t.Fatalf("%d %v %q", rec.Code, rec.Header(), rec.Body)
		}
	case rec.Code == http.StatusFound:
		if rec.Header().Get("Location") == "" {
			t.Fatalf("%d %v", rec.Code, rec.Header())
		}
	default:
		t.Fatalf("E-1: neither JSON nor a page: %d %v %q", rec.Code, rec.Header(), rec.Body)
	}
}

var bodyPaths = []string{"/ath/agents/register", "/ath/authorize", "/ath/token", "/ath/revoke", "/ath/consent/decide"}

func FuzzRequestBody(f *testing.F) {
	target := newTarget(f, athflow.ConsentPage)
	for _, seed := range []struct {
		path int
		form bool
		body string
	}{
		{0, false, `{"agent_id":"{agent}","agent_attestation":"{attestation}","developer":{"name":"n","id":"d"},"requested_providers":[{"provider_id":"gallery","scopes":["pictures:write"]}],"purpose":"p","redirect_uris":["https://a.example/cb","http://127.0.0.1/cb","com.example:/cb"]}`},
		{0, false, `{"agent_id":"http://x.example/a","agent_attestation":"e30.e30.e30","requested_providers":[null,{"scopes":[""]}]}`},
		{1, false, `{"client_id":"{client}","agent_attestation":"{attestation}","provider_id":"gallery","scopes":["pictures:read"],"state":"s","user_redirect_uri":"https://a.example/cb","resource":"https://api.example/"}`},
		{1, false, `{"client_id":"{client}","agent_attestation":"{attestation}","provider_id":"default","scopes":[],"state":"\u0000"}`},
		{2, false, `{"grant_type":"authorization_code","client_id":"{client}","client_secret":"{secret}","agent_attestation":"{exchange}","code":"ath_code_x","ath_session_id":"{session}"}`},
		{2, true, `grant_type=authorization_code&client_id={client}&client_secret={secret}&agent_attestation={exchange}&code=x&ath_session_id={session}`},
		{3, false, `{"client_id":"{client}","client_secret":"{secret}","token":"ath_tk_x"}`},
		{3, true, `client_id={client}&client_secret={secret}&token=ath_tk_AAAAAAAAAAAAAAAA_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA`},
		{4, true, `state={state}&token=x&decision=allow`},
		{4, true, `state=%zz;&decision=deny`},
		{0, false, `{"requested_providers":[{"provider_id":"gallery","scopes":[` + strings.Repeat(`"a",`, 1100) + `"a"]}]}`},
		{0, false, `{"agent_id":"` + strings.Repeat(`\u0041`, 5000) + `","agent_id":"x"}`},
		{1, false, `[`}, {2, false, `{} {}`}, {3, false, `{"token":1}`}, {0, true, `a=b`},
	} {
		f.Add(byte(seed.path), seed.form, seed.body)
	}
	f.Fuzz(func(t *testing.T, path byte, form bool, body string) {
		target.w.t = t
		media := "application/json"
		if form {
			media = "application/x-www-form-urlencoded"
		}
		answered(t, target.ask("POST", bodyPaths[int(path)%len(bodyPaths)], target.fill(body), media, ""), http.StatusServiceUnavailable)
	})
}

func FuzzCallbackQuery(f *testing.F) {
	targets := []*target{newTarget(f, athflow.ConsentDirect), newTarget(f, athflow.ConsentRedirect)}
	for _, seed := range []string{
		"state={state}&code=c", "state={state}&error=access_denied", "state={state}&error=server_error&error_description=<script>",
		"state={state}&code=c&iss=https://evil.example", "state={state}&state={state}&code=c", "code=c", "state=%00;&code=%zz", "state={state}", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, target := range targets {
			target.w.t = t
			for _, path := range []string{"/ath/callback?", "/ath/consent/start?"} {
				if rec := target.ask("GET", path+target.fill(query), "", "", ""); rec != nil {
					// A code that the provider does not know is the provider's failure.
					answered(t, rec, http.StatusServiceUnavailable, http.StatusBadGateway)
				}
			}
		}
	})
}

// FuzzAgentDoors tries the doors that prove who asks by a header: an agent's
// own, and the operator's without a token of theirs.
func FuzzAgentDoors(f *testing.F) {
	target := newTarget(f, athflow.ConsentPage)
	for _, seed := range []struct{ method, path, authorization, body string }{
		{"GET", "/ath/agents/{client}", "Bearer {attestation}", ""},
		{"GET", "/ath/agents/{client}", "Basic YTpi", ""},
		{"DELETE", "/ath/agents/{client}", "Bearer x", ""},
		{"GET", "/ath/agents/%2e%2e", "Basic !", ""},
		{"GET", "/ath/admin/agents", "Bearer x", ""},
		{"POST", "/ath/admin/agents/{client}/approve", "Bearer", `{"scopes":[]}`},
		{"HEAD", "/.well-known/ath.json", "", ""}, {"OPTIONS", "/ath/token", "", ""}, {"PUT", "//ath//", "", ""},
	} {
		f.Add(seed.method, seed.path, seed.authorization, seed.body)
	}
	f.Fuzz(func(t *testing.T, method, path, authorization, body string) {
		target.w.t = t
		if !strings.HasPrefix(path, "/") {
			path = "/" + path
		}
		rec := target.ask(method, target.fill(path), target.fill(body), "application/json", target.fill(authorization))
		if rec == nil {
			return
		}
		answered(t, rec, http.StatusServiceUnavailable)
		if strings.HasPrefix(path, "/ath/admin/") && rec.Code < 400 {
			t.Fatalf("somebody is taken for an operator: %d %s", rec.Code, rec.Body)
		}
		if strings.Contains(rec.Body.String(), target.secret) {
			t.Fatal("R-8: the secret is told")
		}
		if method == "DELETE" && rec.Code < 300 { // it proved to be the agent: R-7
			if r := target.register("gallery", "pictures:read"); r.status != http.StatusCreated {
				t.Fatalf("%d %s", r.status, r.raw)
			}
		}
	})
}

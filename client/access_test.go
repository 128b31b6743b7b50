package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
)

const gw = "https://gw.example"

// A gateway is a server, and the API behind it, in memory: so that a test has
// time of its own. A call passes with a token that lives and has the path's last
// part as a scope.
type gateway struct {
	t *testing.T

	mu       sync.Mutex
	asked    map[string]int // by method and path
	tokens   map[string]*issued
	renewal  string // what is taken for one; "": none is given
	approved []string
	offered  []string // that a registration adds
	ended    bool     // the user's grant at the provider
	link     string   // in the refusals that say so
	consent  string   // consent_origin of discovery
	next     any      // details.next of a 403; nil: as it should be
	fake     bool     // refusals are an API's: without the header
	refuses  map[string]string
	bodies   []string // that reached the API
}

type issued struct {
	scopes  []string
	expires time.Time
	revoked bool
}

func newGateway(t *testing.T) *gateway {
	return &gateway{t: t, asked: map[string]int{}, tokens: map[string]*issued{}, refuses: map[string]string{}, renewal: "ath_rt_1", approved: []string{"read", "write"}}
}

func (g *gateway) issue(scopes ...string) client.Token {
	g.mu.Lock()
	defer g.mu.Unlock()
	name := fmt.Sprintf("ath_tk_%d", len(g.tokens)+1)
	g.tokens[name] = &issued{scopes: scopes, expires: time.Now().Add(time.Hour)}
	return client.Token{Access: ath.NewSecret(name), Provider: "shop", Scopes: scopes, Expires: time.Now().Add(time.Hour), Renewal: ath.NewSecret(g.renewal)}
}

func (g *gateway) count(line string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked[line]
}

func (g *gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	line := r.Method + " " + r.URL.Path
	time.Sleep(10 * time.Millisecond) // under synctest: so that calls meet
	g.mu.Lock()
	g.asked[line]++
	code := g.refuses[line]
	g.mu.Unlock()
	if code != "" {
		return g.refuse(401, code, nil), nil
	}
	body := map[string]any{}
	if r.Method == "POST" && strings.HasPrefix(r.URL.Path, "/ath/") && !strings.HasPrefix(r.URL.Path, ath.ProxyPath) {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			g.t.Error(err)
		}
	}
	switch line {
	case "GET /.well-known/ath.json":
		return reply(200, map[string]any{"gateway_id": gw, "consent_origin": g.consent, "supported_providers": []any{}}), nil
	case "GET /.well-known/ath-app.json":
		return reply(404, map[string]any{"code": "NOT_FOUND"}), nil
	case "GET /ath/agents/ath_1":
		return reply(200, map[string]any{"client_id": "ath_1", "agent_status": "approved", "redirect_uris": []string{"https://agent.example/cb"}, "approved_providers": []any{map[string]any{"provider_id": "shop", "approved_scopes": g.approved}}}), nil
	case "POST /ath/agents/register":
		if fmt.Sprint(body["redirect_uris"]) != "[https://agent.example/cb]" {
			g.t.Errorf("it registers again with other redirect URIs: %v", body["redirect_uris"])
		}
		if g.offered == nil {
			return g.refuse(409, "CONFLICT", nil), nil
		}
		g.approved = append(g.approved, g.offered...)
		return reply(201, map[string]any{"client_id": "ath_1", "client_secret": "ath_secret_2", "agent_status": "approved", "approved_providers": []any{map[string]any{"provider_id": "shop", "approved_scopes": g.approved}}}), nil
	case "POST /ath/authorize":
		return reply(200, map[string]any{"authorization_url": gw + "/consent?scope=" + url.QueryEscape(fmt.Sprint(body["scopes"])), "ath_session_id": "ath_sess_1"}), nil
	case "POST /ath/revoke":
		g.mu.Lock()
		defer g.mu.Unlock()
		if held := g.tokens[body["token"].(string)]; held != nil {
			held.revoked = true
		}
		return reply(200, map[string]any{"revoked": true}), nil
	case "POST /ath/token":
		return g.exchange(body), nil
	}
	return g.call(r), nil
}

func (g *gateway) exchange(body map[string]any) *http.Response {
	scopes := []string{"read"}
	switch {
	case body["grant_type"] == "authorization_code":
		scopes = strings.Fields(body["code"].(string))
	case g.ended:
		return g.ends()
	case body["refresh_token"] != g.renewal || body["code"] != nil || body["ath_session_id"] != nil:
		return g.refuse(401, "TOKEN_REVOKED", nil)
	case body["scope"] != nil:
		scopes = strings.Fields(body["scope"].(string))
	}
	fresh := g.issue(scopes...)
	return reply(200, map[string]any{"access_token": fresh.Access.Reveal(), "token_type": "Bearer", "expires_in": 3600, "agent_id": id, "provider_id": "shop", "effective_scopes": scopes})
}

func (g *gateway) call(r *http.Request) *http.Response {
	g.mu.Lock()
	defer g.mu.Unlock()
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	held, wants := g.tokens[token], r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	switch {
	case held == nil:
		return g.refuse(401, "TOKEN_INVALID", nil)
	case held.revoked:
		return g.refuse(401, "TOKEN_REVOKED", nil)
	case !time.Now().Before(held.expires):
		return g.refuse(401, "TOKEN_EXPIRED", nil)
	case g.ended:
		return g.ends()
	case !slices.Contains(held.scopes, wants):
		next := g.next
		if next == nil {
			next = map[string]any{"step": "authorize", "provider_id": "shop", "scopes": []string{wants}}
		}
		return g.refuse(403, "SCOPE_NOT_APPROVED", map[string]any{"next": next})
	}
	if r.Body != nil {
		text, _ := io.ReadAll(r.Body)
		g.bodies = append(g.bodies, string(text))
	}
	return reply(200, map[string]any{"token": token})
}

func (g *gateway) ends() *http.Response {
	return g.refuse(401, "TOKEN_INVALID", map[string]any{"reason": "reauthorization_required", "authorization_url": g.link})
}

func (g *gateway) refuse(status int, code string, details map[string]any) *http.Response {
	if details == nil {
		details = map[string]any{}
	}
	details["decision_id"] = "dec_1"
	resp := reply(status, map[string]any{"code": code, "message": "no", "details": details})
	if !g.fake {
		resp.Header.Set("X-ATH-Decision-ID", "dec_1")
	}
	return resp
}

func reply(status int, body any) *http.Response {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(text)))}
}

// access makes an Access of a client that is registered.
func (g *gateway) access(t *testing.T, config client.AccessConfig) (*client.Access, *client.Client) {
	t.Helper()
	c := newClient(t, gw, newIdentity(t), registered, func(c *client.Config) { c.Transport = g })
	config.API = gw + "/ath/proxy/shop"
	a, err := c.Access(config)
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}

// get calls the API, and returns with which token it passed.
func get(t *testing.T, a *client.Access, path string) (token string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", gw+"/ath/proxy/shop/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := a.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var said struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil {
		t.Fatal(err)
	}
	return said.Token, nil
}

// proves: T-8
func TestAccessRenewsByItself(t *testing.T) {
	tests := []struct {
		name   string
		before func(*gateway, *client.Token)
		calls  int // before and after the wait, of the API
		wait   time.Duration
	}{
		{"shortly before its end, so that no call is refused", nil, 2, time.Hour - 10*time.Second},
		{"after its end, by this clock", nil, 2, 3 * time.Hour},
		{"when the server says so, where the clock does not", func(g *gateway, t *client.Token) {
			t.Expires = time.Now().Add(9 * time.Hour)
		}, 3, 2 * time.Hour},
		{"when the server says so, where it is not known", func(g *gateway, t *client.Token) { t.Expires = time.Time{} }, 3, 2 * time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				token, kept := g.issue("read"), []client.Token{}
				if tt.before != nil {
					tt.before(g, &token)
				}
				a, _ := g.access(t, client.AccessConfig{Token: token, Keep: func(_ context.Context, t client.Token) error { kept = append(kept, t); return nil }})
				if by, err := get(t, a, "read"); by != "ath_tk_1" {
					t.Fatal(by, err)
				}
				time.Sleep(tt.wait)
				if by, err := get(t, a, "read"); by != "ath_tk_2" {
					t.Fatal(by, err)
				}
				if n := g.count("POST /ath/token"); n != 1 || g.count("GET /ath/proxy/shop/read") != tt.calls {
					t.Errorf("%d renewals, %d calls", n, g.count("GET /ath/proxy/shop/read"))
				}
				if len(kept) != 1 || kept[0].Access.Reveal() != "ath_tk_2" || kept[0].Renewal.Reveal() != "ath_rt_1" || !kept[0].Access.Equal(a.Token().Access.Reveal()) {
					t.Errorf("kept %v", kept)
				}
			})
		})
	}
}

// Many calls that find the token ended renew once, and each passes with its own
// body.
//
// proves: T-8
func TestCallsAtOnceRenewOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		token := g.issue("read")
		token.Expires = time.Time{} // so that all calls are refused first
		a, _ := g.access(t, client.AccessConfig{Token: token})
		time.Sleep(2 * time.Hour)
		var done sync.WaitGroup
		for i := range 16 {
			done.Go(func() {
				req, err := http.NewRequestWithContext(t.Context(), "POST", gw+"/ath/proxy/shop/read", strings.NewReader(fmt.Sprint(i)))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := a.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
			})
		}
		done.Wait()
		if n := g.count("POST /ath/token"); n != 1 {
			t.Errorf("%d renewals", n)
		}
		slices.Sort(g.bodies)
		if len(slices.Compact(g.bodies)) != 16 {
			t.Errorf("bodies %q", g.bodies)
		}
	})
}

// What cannot be sent twice is refused once; the next call passes.
func TestABodyThatCannotBeRepeatedIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		token := g.issue("read")
		token.Expires = time.Time{}
		a, _ := g.access(t, client.AccessConfig{Token: token})
		time.Sleep(2 * time.Hour)
		req, err := http.NewRequestWithContext(t.Context(), "POST", gw+"/ath/proxy/shop/read", io.NopCloser(strings.NewReader("once")))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.RoundTrip(req); client.CodeOf(err) != ath.TokenExpired {
			t.Errorf("err = %v", err)
		}
		if by, err := get(t, a, "read"); by != "ath_tk_2" {
			t.Error(by, err)
		}
	})
}

func TestARefusedRenewalSaysToAuthorizeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		a, c := g.access(t, client.AccessConfig{Token: g.issue("read")})
		g.renewal = "ath_rt_another"
		time.Sleep(2 * time.Hour)
		_, err := get(t, a, "read")
		if e, ok := errors.AsType[*client.RenewalError](err); !ok || e.Refusal.Code != ath.TokenRevoked || !strings.Contains(err.Error(), "authorize again") {
			t.Errorf("err = %v", err)
		}
		if n := g.count("POST /ath/token"); n != 1 {
			t.Errorf("%d renewals", n)
		}
		if _, err := c.Renew(t.Context(), client.Token{Access: ath.NewSecret("ath_tk_9")}); !errors.Is(err, client.ErrNoRenewal) {
			t.Errorf("err = %v", err)
		}
	})
}

// While the token is good, a server that renews none now stops no call, and is
// not asked at each.
func TestATokenIsUsedToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		a, _ := g.access(t, client.AccessConfig{Token: g.issue("read")})
		g.refuses["POST /ath/token"] = "OAUTH_ERROR"
		time.Sleep(time.Hour - 20*time.Second)
		for range 50 {
			if by, err := get(t, a, "read"); by != "ath_tk_1" {
				t.Fatal(by, err)
			}
		}
		if n := g.count("POST /ath/token"); n != 1 {
			t.Errorf("%d tries to renew", n)
		}
		time.Sleep(20 * time.Second)
		if _, err := get(t, a, "read"); client.CodeOf(err) != ath.OAuthError {
			t.Errorf("err = %v", err)
		}
		delete(g.refuses, "POST /ath/token")
		if by, err := get(t, a, "read"); by != "ath_tk_2" {
			t.Error(by, err)
		}
	})
}

// A server that is late with a renewal is waited for once by all calls together,
// and not by one after the other: with what is left of the token they pass.
func TestALateRenewalIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		c := newClient(t, gw, newIdentity(t), registered, func(c *client.Config) { c.Transport, c.Timeout = late{g}, 5*time.Second })
		a, err := c.Access(client.AccessConfig{Token: g.issue("read"), API: gw + "/ath/proxy/shop"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - 20*time.Second)
		begun := time.Now()
		var done sync.WaitGroup
		for range 16 {
			done.Go(func() {
				if by, err := get(t, a, "read"); by != "ath_tk_1" {
					t.Error(by, err)
				}
			})
		}
		done.Wait()
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("the last one waited %v", took)
		}
	})
}

// A late gateway answers nothing at the token endpoint.
type late struct{ *gateway }

func (l late) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == ath.TokenPath {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return l.gateway.RoundTrip(r)
}

// Who gives up waiting for the user does not take the others along.
func TestACallThatGivesUpLeavesItsTurnToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.ended, g.link = true, gw+"/ath/heal/sealed"
		shown := 0
		a, _ := g.access(t, client.AccessConfig{Token: g.issue("read"), Heal: func(ctx context.Context, _ string) error {
			if shown++; shown == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			g.ended = false
			return nil
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var done sync.WaitGroup
		done.Go(func() {
			req, err := http.NewRequestWithContext(ctx, "GET", gw+"/ath/proxy/shop/read", nil)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := a.RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("err = %v", err)
			}
		})
		time.Sleep(time.Second)
		if by, err := get(t, a, "read"); by != "ath_tk_1" || shown != 2 {
			t.Error(by, err, shown)
		}
		done.Wait()
	})
}

// Processes of one agent share a renewal, and what the others kept.
func TestWhatAnotherProcessKeptIsLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		token, other := g.issue("read"), g.issue("read", "write")
		a, c := g.access(t, client.AccessConfig{Token: token, Load: func(context.Context) (client.Token, error) { return other, nil }})
		if err := c.Revoke(t.Context(), token.Access); err != nil {
			t.Fatal(err)
		}
		if by, err := get(t, a, "read"); by != "ath_tk_2" {
			t.Fatal(by, err)
		}
		time.Sleep(2 * time.Hour) // what is kept has ended, too
		if by, err := get(t, a, "read"); by != "ath_tk_3" {
			t.Error(by, err)
		}
	})
}

func TestRenewingForLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		_, c := g.access(t, client.AccessConfig{Token: g.issue("read", "write")})
		got, err := c.Renew(t.Context(), client.Token{Renewal: ath.NewSecret("ath_rt_1")}, "write")
		if err != nil || !slices.Equal(got.Scopes, []string{"write"}) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

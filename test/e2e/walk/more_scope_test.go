package walk

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
)

// A lack is a call that an agent's token does not cover, and the scope that does.
type lack struct {
	provider, held, scope string
	allowed, line         string   // targets: one that the token covers, and the call
	more                  []string // headers of the call
	status                int      // of the call, when it passes
}

func (l lack) call(t *testing.T, s *stage.Stage, token client.Token) reply {
	t.Helper()
	method, target, _ := strings.Cut(l.line, " ")
	return raw(t, s, request(s, method, target, token.Access.Reveal(), token.AgentID, append([]string{"Content-Length: 0"}, l.more...)...)...)
}

// refused wants the call to be refused for its scope, and returns the scopes that the
// refusal says to ask for, and those of them that it says are not approved.
func (l lack) refused(t *testing.T, s *stage.Stage, token client.Token) (scopes, unapproved []any) {
	t.Helper()
	api := s.App
	if l.provider != stage.App {
		api = s.Gallery
	}
	api.Forget()
	r := l.call(t, s, token)
	if r.status != http.StatusForbidden || r.code() != string(ath.ScopeNotApproved) || api.Hits() > 0 {
		t.Fatalf("P-11: %d %s, the API saw %q", r.status, r.body, api.Bytes())
	}
	if id := r.header.Get("X-ATH-Decision-ID"); id == "" || id != r.details()["decision_id"] {
		t.Errorf("P-9: the header says %q, the body %s", id, r.body)
	}
	next, _ := r.details()["next"].(map[string]any)
	scopes, _ = next["scopes"].([]any)
	unapproved, _ = next["unapproved_scopes"].([]any)
	challenge := `Bearer realm="ath", error="insufficient_scope"`
	if len(scopes) > 0 {
		challenge += fmt.Sprintf(", scope=%q", scopes[0])
		if next["step"] != "authorize" || next["provider_id"] != token.Provider {
			t.Errorf("P-11: next is %v", next)
		}
	}
	if got := r.header.Values("WWW-Authenticate"); len(got) != 1 || got[0] != challenge {
		t.Errorf("P-11: WWW-Authenticate is %q, want %q", got, challenge)
	}
	return scopes, unapproved
}

// mustWiden tells the whole story: the call is refused, the refusal says which
// scope to ask for, the agent registers for it if it must, the user consents, and the
// new token passes. The old one does not: a token's scopes never grow.
func (l lack) mustWiden(t *testing.T, s *stage.Stage, a *client.Client, old client.Token) client.Token {
	t.Helper()
	scopes, unapproved := l.refused(t, s, old)
	if want := []any{l.scope}; !reflect.DeepEqual(scopes, want) {
		t.Fatalf("P-11: next names %v, want %v", scopes, want)
	}
	ask := client.Consent{Provider: old.Provider, Scopes: append([]string{l.scope}, old.Scopes...)}
	if len(unapproved) > 0 {
		if _, err := a.Authorize(t.Context(), ask); client.CodeOf(err) != ath.ScopeNotApproved {
			t.Fatalf("authorize for what is said not to be approved: %v", err)
		}
		reply, err := s.Register(a, l.provider, l.scope)
		if err != nil || reply.Status != "approved" {
			t.Fatalf("R-2: registering for more: %v, %+v", err, reply)
		}
		if scopes, unapproved := l.refused(t, s, old); !reflect.DeepEqual(scopes, []any{l.scope}) || len(unapproved) > 0 {
			t.Errorf("T-3: an approval changed the token, or next says that there is none: %v, %v", scopes, unapproved)
		}
	}
	authorization, code := s.Code(a, old.Provider, ask.Scopes...)
	if _, unapproved := l.refused(t, s, old); len(unapproved) > 0 {
		t.Errorf("next says that %v is not approved", unapproved)
	}
	token, err := a.Exchange(t.Context(), authorization, code)
	if err != nil {
		t.Fatal(err)
	}
	if token.Access.Reveal() == old.Access.Reveal() || !reflect.DeepEqual(token.Scopes, ask.Scopes) {
		t.Fatalf("P-11: what came of it has the scopes %v", token.Scopes)
	}
	if r := l.call(t, s, *token); r.status != l.status {
		t.Fatalf("P-11: the new token: %d %s", r.status, r.body)
	}
	if scopes, _ := l.refused(t, s, old); len(scopes) != 1 {
		t.Errorf("T-3: next is %v after the new token", scopes)
	}
	for name, one := range map[string]client.Token{"the old": old, "the new": *token} {
		if r := raw(t, s, request(s, "GET", l.allowed, one.Access.Reveal(), one.AgentID)...); r.status != http.StatusOK {
			t.Errorf("%s token's own call: %d %s", name, r.status, r.body)
		}
	}
	return *token
}

var (
	morePictures = lack{provider: stage.Provider, held: "pictures:read", scope: "pictures:write",
		allowed: "/ath/proxy/gallery/pictures/1", line: "POST /ath/proxy/gallery/pictures", status: 200}
	moreOrders = lack{provider: stage.App, held: "products:read", scope: "orders:read",
		allowed: "/api/products", line: "GET /api/orders", status: 200}
)

// With more scope by asking an agent gets on, and a token never grows.
// proves: P-11, T-3, R-2
func TestMoreScopeIsANewToken(t *testing.T) {
	for _, grants := range []string{"per_consent", "per_user"} {
		t.Run(grants, func(t *testing.T) {
			s := stage.Start(t, stage.Options{Grants: grants, Refreshable: true, OneGrantPerUser: grants == "per_user", AppMore: `  scope_rules:
  - {scope: "products:read", methods: [GET], paths: ["/api/products", "/api/products/**"]}
  - {scope: "orders:read", methods: [GET], paths: ["/api/orders", "/api/orders/**"]}
`})
			for name, l := range map[string]lack{"gateway": morePictures, "native": moreOrders} {
				t.Run(name, func(t *testing.T) {
					a := s.NewAgent(name + "-approved")
					if _, err := s.Register(a, l.provider, l.held, l.scope); err != nil {
						t.Fatal(err)
					}
					l.mustWiden(t, s, a, s.Token(a, l.provider, l.held))
				})
				t.Run(name+", registered for less", func(t *testing.T) {
					a := s.NewAgent(name + "-narrow")
					old := s.Token(a, l.provider, l.held)
					if _, unapproved := l.refused(t, s, old); !reflect.DeepEqual(unapproved, []any{l.scope}) {
						t.Errorf("P-11: next does not say that the agent is not approved: %v", unapproved)
					}
					l.mustWiden(t, s, a, old)
				})
			}
			t.Run("native, below /ath/proxy/ and by the alias default", func(t *testing.T) {
				l := moreOrders
				l.allowed, l.line = "/ath/proxy/shop/api/products", "GET /ath/proxy/shop/api/orders"
				a := s.NewAgent("alias")
				if _, err := s.Register(a, "default", l.held, l.scope); err != nil {
					t.Fatal(err)
				}
				if token := l.mustWiden(t, s, a, s.Token(a, "default", l.held)); token.Provider != "default" {
					t.Errorf("T-5: the new token is for %q", token.Provider)
				}
			})
		})
	}
}

// What a standing consent gives lacks the same, and goes on lacking it when the
// user has allowed more: a new token has a consent of its own.
// proves: P-11, T-3, T-8, T-5
func TestMoreScopeBesideAStandingConsent(t *testing.T) {
	s := stage.Start(t, stage.Options{Mode: "native", Refreshable: true, Renewal: "{max: 90d, idle: 30d}"})
	a := s.NewAgent("standing")
	if _, err := s.Register(a, "default", moreOrders.held, moreOrders.scope); err != nil {
		t.Fatal(err)
	}
	renew := func(of client.Token) client.Token {
		t.Helper()
		token, err := a.Renew(t.Context(), of)
		if err != nil {
			t.Fatal(err)
		}
		return *token
	}
	first := s.Token(a, "default", moreOrders.held)
	renewed := renew(first)
	more := moreOrders.mustWiden(t, s, a, renewed)
	moreOrders.refused(t, s, renew(first))
	if r := moreOrders.call(t, s, renew(more)); r.status != http.StatusOK || more.Renewal.Reveal() == first.Renewal.Reveal() {
		t.Errorf("the new token's own renewal: %d %s", r.status, r.body)
	}
	if _, err := a.Renew(t.Context(), first, moreOrders.scope); client.CodeOf(err) != ath.ScopeNotApproved {
		t.Errorf("T-8: renewed for more than the user allowed: %v", err)
	}
}

// A WebSocket is asked for like any other scope.
// proves: P-11, T-3
func TestMoreScopeForAnUpgrade(t *testing.T) {
	s := stage.Start(t, stage.Options{Mode: "native", AppMore: `  scope_rules:
  - {scope: "products:read", methods: [GET], paths: ["/api/products", "/live"]}
  - {scope: "orders:read", methods: [GET], paths: ["/live"], upgrade: [websocket]}
`})
	s.App.Serve("/live", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		// Where replies are checked, one whose connection ends before that is lost.
		io.Copy(io.Discard, conn)
	})
	l := lack{provider: stage.App, held: "products:read", scope: "orders:read", allowed: "/api/products", line: "GET /live", status: http.StatusSwitchingProtocols,
		more: []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eDp5eDp5eDp5eDp5eDp5eA=="}}
	a := s.NewAgent("live")
	if _, err := s.Register(a, l.provider, l.held, l.scope); err != nil {
		t.Fatal(err)
	}
	l.mustWiden(t, s, a, s.Token(a, l.provider, l.held))
}

// What a policy denies now, and what an operator has denied, nobody is led on to for
// nothing: each refusal says what is so.
// proves: P-11, R-1
func TestMoreScopeThatIsDenied(t *testing.T) {
	s := stage.Start(t, stage.Options{Approval: "  rules:\n  - {scopes: [\"orders:read\", \"pictures:write\"], action: deny}\n  - {scopes: [\"cart:write\"], action: review}\n  default: approve"})
	t.Run("by policy", func(t *testing.T) {
		for name, l := range map[string]lack{"gateway": morePictures, "native": moreOrders} {
			a := s.NewAgent(name + "-denied")
			old := s.Token(a, l.provider, l.held)
			if scopes, unapproved := l.refused(t, s, old); len(scopes) != 0 || len(unapproved) != 0 {
				t.Errorf("%s: next names %v, of which %v are said to be unapproved", name, scopes, unapproved)
			}
			reply, err := s.Register(a, l.provider, l.scope)
			if err != nil || len(reply.Providers) != 1 || !reflect.DeepEqual(reply.Providers[0].Denied, []string{l.scope}) || reply.Providers[0].DenialReason == "" {
				t.Fatalf("%s: registering for it: %v, %+v", name, err, reply)
			}
			if _, err := a.Authorize(t.Context(), client.Consent{Provider: l.provider, Scopes: []string{l.held, l.scope}}); client.CodeOf(err) != ath.ScopeNotApproved {
				t.Errorf("%s: authorize: %v", name, err)
			}
			if scopes, _ := l.refused(t, s, old); len(scopes) != 0 {
				t.Errorf("%s: afterwards next names %v", name, scopes)
			}
		}
	})
	t.Run("by an operator", func(t *testing.T) {
		l := lack{provider: stage.App, held: "products:read", scope: "cart:write", allowed: "/api/products", line: "POST /api/cart", status: 200}
		a := s.NewAgent("reviewed")
		old := s.Token(a, l.provider, l.held)
		if reply, err := s.Register(a, l.provider, l.scope); err != nil {
			t.Fatalf("%v, %+v", err, reply)
		}
		if _, unapproved := l.refused(t, s, old); !reflect.DeepEqual(unapproved, []any{l.scope}) {
			t.Errorf("under review: unapproved are %v", unapproved)
		}
		if r := post(t, s, "/ath/admin/agents/"+a.Credentials().ClientID+"/deny", `{"reason":"Looking is enough."}`, "X-ATH-User-Token", stage.AdminKey); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if scopes, _ := l.refused(t, s, old); len(scopes) > 0 {
			t.Errorf("next sends the agent to ask for %v, which an operator has denied", scopes)
		}
	})
}

// At an OAuth server that returns a scope under another name, as Google does.
// proves: P-11, C-4
func TestMoreScopeByAnAlias(t *testing.T) {
	s := stage.Start(t, stage.Options{Mode: "gateway"})
	issuer, err := url.Parse(s.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	const other = "https://scopes.example/pictures.write"
	renaming := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(issuer) },
		ModifyResponse: func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			text := strings.ReplaceAll(string(body), "pictures:write", other)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
			r.Header.Set("Content-Length", fmt.Sprint(len(text)))
			return nil
		},
	})
	t.Cleanup(renaming.Close)
	file := filepath.Join(s.Dir, "providers.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(s.Issuer+"/token", renaming.URL+"/token", `"client_id"`, `"scope_aliases": {"pictures:write": "`+other+`"}, "client_id"`).Replace(string(text))
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	s.RestartAthd()
	a := s.NewAgent("alias")
	if _, err := s.Register(a, stage.Provider, morePictures.held, morePictures.scope); err != nil {
		t.Fatal(err)
	}
	morePictures.mustWiden(t, s, a, s.Token(a, stage.Provider, morePictures.held))
}

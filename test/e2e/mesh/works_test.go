package mesh

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
)

// works takes two agents through the whole handshake, has them call, tries what
// must be refused, and takes a token and then athd away. Everything goes
// through the mesh's Envoy, which asks athd about each request.
func (m mesh) works(t *testing.T) {
	s := m.start(t)
	a, b := s.NewAgent("a"), s.NewAgent("b")
	if found, err := a.Discover(t.Context()); err != nil || found.App == nil || found.App.ID != stage.App {
		t.Fatalf("discovery: %v, %+v", err, found)
	}
	shop := s.Token(a, stage.App, "products:read")
	gallery := s.Token(b, stage.Provider, "pictures:read")

	t.Run("calls pass", func(t *testing.T) { m.passes(t, s, shop, gallery) })
	t.Run("refusals", func(t *testing.T) { m.refuses(t, s, shop, gallery) })
	t.Run("P-9: no API speaks for athd", func(t *testing.T) { m.hears(t, s, shop, gallery) })
	t.Run("athd's own pages", func(t *testing.T) { ownPages(t, s, a, shop) })
	t.Run("V-1: a token that was given back", func(t *testing.T) {
		if err := a.Revoke(t.Context(), shop.Access); err != nil {
			t.Fatal(err)
		}
		if r := send(t, s, "GET /api/products", call(shop)...); r.status != http.StatusUnauthorized || r.code != "TOKEN_REVOKED" {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
	t.Run("athd is away", func(t *testing.T) {
		if err := s.Athd.Stop(); err != nil {
			t.Fatal(err)
		}
		s.App.Forget()
		s.Gallery.Forget()
		for _, line := range []string{"GET /api/products", "GET /ath/proxy/gallery/pictures/1", "GET /.well-known/ath.json"} {
			if r := send(t, s, line, call(gallery)...); r.status != m.away {
				t.Errorf("%s: %d %s, want %d", line, r.status, r.body, m.away)
			}
		}
		if s.App.Hits()+s.Gallery.Hits() > 0 {
			t.Error("a request reached an API that nobody was asked about")
		}
	})
}

// call is the headers of an agent's call.
func call(token client.Token, more ...string) []string {
	return append([]string{"Authorization: Bearer " + token.Access.Reveal(), "X-ATH-Agent-ID: " + token.AgentID}, more...)
}

func (m mesh) passes(t *testing.T, s *stage.Stage, shop, gallery client.Token) {
	for _, tt := range []struct {
		name  string
		line  string
		token client.Token
		api   *stage.Upstream
		saw   string // the request line at the API
	}{
		{"the app", "GET /api/products?page=2", shop, s.App, "GET /api/products?page=2 HTTP/1.1"},
		{"the provider", "GET /ath/proxy/gallery/pictures/1", gallery, s.Gallery, "GET /v1/pictures/1 HTTP/1.1"},
		{"an encoded letter of another alphabet", "GET /ath/proxy/gallery/pictures/caf%C3%A9", gallery, s.Gallery, "GET /v1/pictures/caf%C3%A9 HTTP/1.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.api.Forget()
			r := send(t, s, tt.line, call(tt.token, "Cookie: session=stolen", "X-ATH-Other: o", "X-HTTP-Method-Override: DELETE", "X-Remote-User: root", "Remote-User: root")...)
			saw := tt.api.Bytes()
			if r.status != http.StatusOK || !strings.HasPrefix(saw, tt.saw+"\r\n") {
				t.Fatalf("%d %s; the API saw %q", r.status, r.body, saw)
			}
			for _, ours := range []string{tt.token.Access.Reveal(), "x-ath", "stolen", "override", "root"} {
				if m.lists && ours == "root" {
					continue // athd was not told
				}
				if strings.Contains(strings.ToLower(saw), strings.ToLower(ours)) {
					t.Errorf("P-5: the API saw %q: %s", ours, saw)
				}
			}
			if !slices.ContainsFunc(s.OAuth.Issued(), func(token string) bool {
				return strings.Contains(saw, "\r\nauthorization: Bearer "+token+"\r\n") || strings.Contains(saw, "\r\nAuthorization: Bearer "+token+"\r\n")
			}) {
				t.Errorf("P-5: the API did not see the user's token: %s", saw)
			}
		})
	}
}

// hears calls APIs that answer as if they were athd. What clients go by is empty
// in any mesh; the rest goes where the mesh's files clear replies. Agents get no
// cookies.
func (m mesh) hears(t *testing.T, s *stage.Stage, shop, gallery client.Token) {
	forge := func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range []string{"X-ATH-Decision-ID", "X-ATH-Decision-ID", "X-ATH-Other"} {
			w.Header().Add(name, "dec_forged")
		}
		w.Header().Add("Set-Cookie", "session=forged")
		w.Header().Add("Set-Cookie", "other=forged")
		w.Header().Set("X-Keep", "1")
		w.WriteHeader(http.StatusForbidden)
	}
	s.App.Serve("/api/products/forged", forge)
	s.Gallery.Serve("/v1/pictures/forged", forge)
	for line, token := range map[string]client.Token{"GET /api/products/forged": shop, "GET /ath/proxy/gallery/pictures/forged": gallery} {
		h := send(t, s, line, call(token)...).header
		if ids := h.Values("X-ATH-Decision-ID"); len(ids) > 1 || h.Get("X-ATH-Decision-ID") != "" || m.clears && len(ids) > 0 {
			t.Errorf("%s: X-ATH-Decision-ID is %q", line, ids)
		}
		if m.clears == (h.Get("X-ATH-Other") != "") {
			t.Errorf("%s: X-ATH-Other is %q", line, h.Get("X-ATH-Other"))
		}
		if cookies := (&http.Response{Header: h}).Cookies(); len(cookies) > 0 || h.Get("X-Keep") != "1" {
			t.Errorf("%s: cookies %v of %v", line, cookies, h)
		}
	}
}

func (m mesh) refuses(t *testing.T, s *stage.Stage, shop, gallery client.Token) {
	// One status where the mesh decides it, another where athd does.
	either := func(yes bool, this, that int) int {
		if yes {
			return this
		}
		return that
	}
	twice := []string{"Authorization: Bearer " + shop.Access.Reveal(), "Authorization: Bearer " + shop.Access.Reveal(), "X-ATH-Agent-ID: " + shop.AgentID}
	for _, tt := range []struct {
		name    string
		line    string
		headers []string
		status  int
		code    string // "": Envoy may refuse by itself, or it passes
	}{
		{"P-1: no token", "GET /api/products", nil, 401, "TOKEN_INVALID"},
		{"P-1: no token, gateway", "GET /ath/proxy/gallery/pictures/1", nil, 401, "TOKEN_INVALID"},
		{"P-1: two Authorization headers, which arrive as one", "GET /api/products", twice, 401, "TOKEN_INVALID"},
		{"P-1: an empty one beside it", "GET /api/products", append([]string{"Authorization: Basic eDp5"}, call(shop)...), 401, "TOKEN_INVALID"},
		{"P-2: two agent ids, which arrive as one", "GET /api/products", call(shop, "X-ATH-Agent-ID: "+shop.AgentID), 403, "AGENT_IDENTITY_MISMATCH"},
		{"P-2: another agent's id", "GET /api/products", []string{"Authorization: Bearer " + shop.Access.Reveal(), "X-ATH-Agent-ID: " + gallery.AgentID}, 403, "AGENT_IDENTITY_MISMATCH"},
		{"P-3: another provider's token", "GET /api/products", call(gallery), 403, "PROVIDER_MISMATCH"},
		{"P-3: another provider's token, gateway", "GET /ath/proxy/gallery/pictures/1", call(shop), 403, "PROVIDER_MISMATCH"},
		{"P-3: no such provider", "GET /ath/proxy/nobody/x", call(shop), 403, "PROVIDER_MISMATCH"},
		{"P-3: no id", "GET /ath/proxy/", call(shop), 403, "PROVIDER_MISMATCH"},
		{"P-3: an id in capitals", "GET /ath/proxy/Gallery/pictures/1", call(gallery), 403, "PROVIDER_MISMATCH"},
		{"P-4: outside the scopes", "GET /api/orders", call(shop), 403, "SCOPE_NOT_APPROVED"},
		{"P-4: a method outside the scopes, gateway", "PUT /ath/proxy/gallery/pictures/1", call(gallery, "Content-Length: 0"), 403, "SCOPE_NOT_APPROVED"},
		{"P-4: climbing out of the mount", "GET /ath/proxy/gallery/../../../api/products", call(gallery), 403, "PROVIDER_MISMATCH"},
		{"P-5: a token in the query", "GET /api/products?t=" + shop.Access.Reveal(), call(shop), 400, "INVALID_REQUEST"},
		{"P-7: two slashes", "GET /ath/proxy/gallery//pictures//1", call(gallery), either(m.merges, 200, 400), ""},
		{"P-7: an encoded slash", "GET /ath/proxy/gallery/pictures/..%2f..%2fadmin", call(gallery), 400, "INVALID_REQUEST"},
		{"P-7: an encoded slash, well written", "GET /ath/proxy/gallery/pictures/a%2Fb", call(gallery), 400, "INVALID_REQUEST"},
		{"P-7: an encoded backslash", "GET /ath/proxy/gallery/pictures/a%5Cb", call(gallery), 400, "INVALID_REQUEST"},
		{"P-7: a parameter", "GET /api/products;x=1", call(shop), 400, "INVALID_REQUEST"},
		{"P-7: doubly encoded", "GET /api/products/%252e%252e/orders", call(shop), 400, "INVALID_REQUEST"},
		{"P-7: a byte that is not UTF-8", "GET /ath/proxy/gallery/pictures/a\xffb", call(gallery), 400, ""},
		{"P-7: a mark that may stand for such a byte", "GET /ath/proxy/gallery/pictures/a!b", call(gallery), either(m.raw, 200, 400), ""},
		{"P-7: the mark in the query", "GET /api/products?q=a!b", call(shop), either(m.raw, 200, 400), ""},
		{"P-7: a byte that is not UTF-8 in the query", "GET /api/products?q=a\xffb", call(shop), 400, ""},

		{"P-1: an ATH token on the handshake's path", "GET /.well-known/ath.json", []string{"Authorization: Bearer " + shop.Access.Reveal()}, 403, "AGENT_IDENTITY_MISMATCH"},
		{"P-3: a whole call on the handshake's path", "POST /ath/token", call(shop, "Content-Length: 0"), 403, "PROVIDER_MISMATCH"},
		{"P-5: an ATH token in the callback", "GET /ath/callback?code=" + shop.Access.Reveal(), nil, 400, "INVALID_REQUEST"},
		{"P-7: a way out of the handshake", "GET /ath/agents/..%2f..%2fapi%2fproducts", nil, 400, "INVALID_REQUEST"},
		{"P-7: a parameter behind the handshake", "GET /.well-known/ath.json;x", nil, 400, "INVALID_REQUEST"},
		{"P-1: out of the handshake by dots", "GET /ath/agents/../../api/products", nil, 401, "TOKEN_INVALID"},
		{"P-1: the rest of /ath", "GET /ath/other", nil, 401, "TOKEN_INVALID"},
		{"P-1: another case", "GET /ATH/token", nil, 401, "TOKEN_INVALID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.App.Forget()
			s.Gallery.Forget()
			r := send(t, s, tt.line, tt.headers...)
			if r.status != tt.status || tt.code != "" && r.code != tt.code {
				t.Errorf("%d %s, want %d %s", r.status, r.body, tt.status, tt.code)
			}
			if tt.code != "" && !r.known {
				t.Errorf("E-2: athd's refusal has no decision_id, or another one in its header: %s", r.body)
			}
			if saw := s.App.Bytes() + s.Gallery.Bytes(); (saw != "") != (tt.status == 200) {
				t.Errorf("an API saw %q", saw)
			} else if strings.Contains(saw, shop.Access.Reveal()) || strings.Contains(saw, gallery.Access.Reveal()) {
				t.Errorf("P-5: an API saw an ATH token: %q", saw)
			}
		})
	}
}

// ownPages: what is ours in a request to athd itself arrives there.
func ownPages(t *testing.T, s *stage.Stage, a *client.Client, shop client.Token) {
	s.App.Forget()
	if _, err := a.Status(t.Context()); err != nil {
		t.Errorf("R-8: the agent's own registration: %v", err)
	}
	if r := send(t, s, "GET /ath/admin/agents", "X-ATH-User-Token: "+stage.AdminKey); r.status != http.StatusOK {
		t.Errorf("O-1: an operator by X-ATH-User-Token: %d %s", r.status, r.body)
	}
	if r := send(t, s, "GET /ath/admin/agents", "Authorization: Bearer "+stage.AdminKey); r.status != http.StatusOK {
		t.Errorf("O-1: an operator by Authorization: %d %s", r.status, r.body)
	}
	if r := send(t, s, "GET /ath/admin/agents"); r.status != http.StatusUnauthorized || r.code != "UNAUTHORIZED" {
		t.Errorf("O-1: nobody: %d %s", r.status, r.body)
	}
	if s.App.Hits() > 0 {
		t.Errorf("the app saw %q", s.App.Bytes())
	}
	if strings.Contains(s.Athd.Logs(), shop.Access.Reveal()) {
		t.Error("an ATH token is in athd's log")
	}
}

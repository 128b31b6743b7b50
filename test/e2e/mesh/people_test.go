package mesh

import (
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// People pass through an app that is open to them, also where headers are
// joined and bytes are replaced; nothing that looks like an ATH token does.
// proves: P-1, P-5
func TestPeopleInAMesh(t *testing.T) {
	for _, m := range []mesh{istioAsItComes(), istioAsWeWant()} {
		t.Run(m.name, func(t *testing.T) {
			s := m.startWith(t, stage.Options{Unauthenticated: "passthrough"})
			token := s.Token(s.NewAgent("a"), stage.App, "products:read")
			for _, tt := range []struct {
				name, line string
				headers    []string
				saw        string // the request line at the app; "": nothing
			}{
				{"their own token", "GET /api/orders", []string{"Authorization: Bearer eyJ.e30.x"}, "GET /api/orders HTTP/1.1"},
				{"a mark that may stand for another byte", "GET /a!b?c=!", nil, "GET /a!b?c=! HTTP/1.1"},
				{"cookies in two headers", "GET /", []string{"Cookie: a=b", "Cookie: ath_consent_x=1; c=d"}, "GET / HTTP/1.1"},
				{"an agent", "GET /api/products", call(token), "GET /api/products HTTP/1.1"},

				{"P-5: a token in the query", "GET /api/products?t=" + token.Access.Reveal(), nil, ""},
				{"P-5: a token in the query, beside the mark", "GET /api/products?t=" + token.Access.Reveal() + "&c=!", nil, ""},
				{"P-1: a token in a cookie", "GET /api/products", []string{"Cookie: a=b", "Cookie: t=" + token.Access.Reveal()}, ""},
				{"P-1: a token beside their own", "GET /api/products", []string{"Authorization: Bearer eyJ.e30.x", "Authorization: Bearer " + token.Access.Reveal()}, ""},
				{"the handshake's paths", "GET /.well-known/ath-app.json", nil, ""},
				{"the handshake's paths, with the mark", "GET /ath/agents/a!b", nil, ""},
				{"the rest of /ath", "GET /ath/other", nil, ""},
			} {
				t.Run(tt.name, func(t *testing.T) {
					s.App.Forget()
					r := send(t, s, tt.line, tt.headers...)
					saw := s.App.Bytes()
					if tt.saw == "" && saw != "" || tt.saw != "" && (r.status != http.StatusOK || !strings.HasPrefix(saw, tt.saw+"\r\n")) {
						t.Errorf("%d %s; the app saw %q, want %q", r.status, r.body, saw, tt.saw)
					}
					if strings.Contains(saw, token.Access.Reveal()) || strings.Contains(saw, "ath_consent") {
						t.Errorf("P-5: the app saw what is ours: %q", saw)
					}
				})
			}
			t.Run("a code with the mark reaches athd", func(t *testing.T) {
				r := send(t, s, "GET /ath/callback?code=M.R3_BAY.!x&state=y", "Accept: text/html")
				if r.code != "" || !strings.Contains(r.body, "<html") {
					t.Errorf("%d %s", r.status, r.body)
				}
			})
		})
	}
}

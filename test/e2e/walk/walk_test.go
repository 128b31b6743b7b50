package walk

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/stage"
)

// The handshake and a call, in native mode alone, in gateway mode alone and
// with both in one listener (M-1).
// proves: M-1, P-5, T-2, T-5
func TestWalkInEveryMode(t *testing.T) {
	for name, by := range map[string]struct{ mode, envoy string }{
		"native": {"native", ""}, "gateway": {"gateway", ""}, "both": {"both", ""},
		"by ext_proc":                                {"both", "filter: ext_proc"},
		"streams watched, replies checked":           {"both", "streams: watched, replies: checked"},
		"by ext_proc, streams kept, replies checked": {"both", "filter: ext_proc, streams: watched, streams_on_loss: keep, replies: checked"},
	} {
		mode := by.mode
		t.Run(name, func(t *testing.T) {
			s := stage.Start(t, stage.Options{Mode: mode, EnvoyMore: by.envoy})
			if mode != "gateway" {
				t.Run("native", func(t *testing.T) {
					token := s.Token(s.NewAgent("native"), stage.App, "products:read", "cart:write")
					if token.Provider != stage.App || !slices.Equal(token.Scopes, []string{"products:read", "cart:write"}) {
						t.Errorf("T-2, T-5: the token is for %q and %q", token.Provider, token.Scopes)
					}
					passes(t, s, s.App, token.Access.Reveal(), token.AgentID, "/api/products?page=2", "GET /api/products?page=2 HTTP/1.1\r\n")
				})
				t.Run("native under /ath/proxy/", func(t *testing.T) {
					token := s.Token(s.NewAgent("proxied"), stage.App, "products:read")
					passes(t, s, s.App, token.Access.Reveal(), token.AgentID, "/ath/proxy/shop/api/products/7", "GET /api/products/7 HTTP/1.1\r\n")
				})
				t.Run("native as default", func(t *testing.T) {
					token := s.Token(s.NewAgent("default"), "default", "products:read")
					if token.Provider != "default" {
						t.Errorf("T-5: the reply names %q, the agent said default", token.Provider)
					}
					passes(t, s, s.App, token.Access.Reveal(), token.AgentID, "/api/products", "GET /api/products HTTP/1.1\r\n")
				})
			}
			if mode != "native" {
				t.Run("gateway", func(t *testing.T) {
					token := s.Token(s.NewAgent("gateway"), stage.Provider, "pictures:read")
					passes(t, s, s.Gallery, token.Access.Reveal(), token.AgentID, "/ath/proxy/gallery/pictures/7/large?q=%2F..%2F", "GET /v1/pictures/7/large?q=%2F..%2F HTTP/1.1\r\n")
				})
			}
		})
	}
}

// passes sends a call with all that must not go on, and looks at the bytes
// that the API saw (P-5).
func passes(t *testing.T, s *stage.Stage, api *stage.Upstream, token, agentID, target, line string) {
	t.Helper()
	api.Forget()
	r := raw(t, s, request(s, "GET", target, token, agentID,
		"X-ATH-Other: "+token, "x-ath-internal: yes", "Cookie: ath_consent_x=1; mine=2", "Connection: close")...)
	if r.status != http.StatusOK || r.header.Get("X-Upstream") != "yes" {
		t.Fatalf("the call was answered with %d: %s", r.status, r.body)
	}
	saw := api.Bytes()
	if !strings.HasPrefix(saw, line) {
		t.Errorf("the API saw\n%s\nwant a request that starts with %q", saw, line)
	}
	auth := bearer.FindAllStringSubmatch(saw, -1)
	if len(auth) != 1 {
		t.Fatalf("P-5: the API saw %d Authorization headers:\n%s", len(auth), saw)
	}
	upstream, _ := strings.CutPrefix(auth[0][1], "Bearer ")
	if user, _, ok := s.OAuth.Lookup(upstream); !ok || user != stage.UserID {
		t.Errorf("P-5: the API saw %q, which is not the user's token", auth[0][1])
	}
	for _, part := range []string{"ath_tk_", token, "x-ath-", "cookie", agentID} {
		if strings.Contains(strings.ToLower(saw), strings.ToLower(part)) {
			t.Errorf("P-5: the API saw %q:\n%s", part, saw)
		}
	}
}

func TestBootstrapIsWhatEnvoyTakes(t *testing.T) {
	for _, mode := range []string{"native", "gateway", "both"} {
		s := stage.Start(t, stage.Options{Mode: mode, Embedded: true})
		out, stderr, err := stage.Run(t, s.Dir, "bootstrap", "--config", "athd.yaml")
		if err != nil {
			t.Fatal(stderr)
		}
		realenvoy.Validate(t, []byte(out))
	}
}

// proves: P-5
func TestRepliesStreamBack(t *testing.T) {
	s := stage.Start(t, stage.Options{Embedded: true})
	c := s.NewAgent("streamer")
	token := s.Token(c, stage.App, "products:read")
	req, _ := http.NewRequestWithContext(t.Context(), "GET", s.Public+"/api/products/stream", nil)
	req.Header.Set("Authorization", "Bearer "+token.Access.Reveal())
	req.Header.Set("X-ATH-Agent-ID", token.AgentID)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 64)
	n, err := resp.Body.Read(buf) // the stream never ends: what arrives arrives while it runs
	if resp.StatusCode != http.StatusOK || err != nil || !strings.HasPrefix(string(buf[:n]), "data: 0") {
		t.Errorf("P-5: %d, %q, %v", resp.StatusCode, buf[:n], err)
	}
}

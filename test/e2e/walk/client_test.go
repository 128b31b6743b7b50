package walk

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/stage"
)

// The client's transport makes calls through Envoy, natively and through the
// gateway, and knows athd's and Envoy's own refusals from those that an API
// makes up.
// proves: P-9
func TestClientTransportThroughEnvoy(t *testing.T) {
	s := stage.Start(t, stage.Options{Embedded: true})
	c, ctx := s.NewAgent("calls"), t.Context()
	found, err := c.Discover(ctx)
	if err != nil {
		t.Fatal(err)
	}
	tokens := map[string]client.Token{
		stage.App:      s.Token(c, stage.App, "products:read"),
		stage.Provider: s.Token(s.NewAgent("gateway"), stage.Provider, "pictures:read"),
	}
	through := func(provider string, c *client.Client) (*http.Client, string) {
		t.Helper()
		api, err := found.API(provider)
		if err != nil {
			t.Fatal(err)
		}
		transport, err := c.Transport(tokens[provider].Access, api)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Client{Transport: transport}, api
	}
	native, shop := through(stage.App, c)

	s.App.Serve("/api/products/forged", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-ATH-Decision-ID", "dec_forged")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"code":"SCOPE_NOT_APPROVED","message":"go to https://evil.example","details":{"decision_id":"dec_forged"}}`)
	})
	for path, status := range map[string]int{"/api/products": http.StatusOK, "/api/products/forged": http.StatusForbidden} {
		resp, err := native.Get(shop + path)
		if err != nil {
			t.Errorf("%s: what the API answered became %v", path, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != status || resp.Header.Get("X-ATH-Decision-ID") != "" || status == http.StatusForbidden && !strings.Contains(string(body), "evil.example") {
			t.Errorf("%s: %d %s %v", path, resp.StatusCode, body, err)
		}
	}
	refused := func(by *http.Client, target string, status int, code ath.Code, id string) {
		t.Helper()
		resp, err := by.Get(target)
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s passed with %d", target, resp.StatusCode)
			return
		}
		e, ok := errors.AsType[*client.Error](err)
		if !ok || e.Status != status || e.Code != code || !strings.HasPrefix(e.DecisionID, id) {
			t.Errorf("%s: %v, want %d %s and %s…", target, err, status, code, id)
		}
	}
	refused(native, shop+"/api/orders", http.StatusForbidden, ath.ScopeNotApproved, "dec_")
	refused(native, found.ProxyAPI(stage.Provider)+"/pictures/7", http.StatusForbidden, ath.ProviderMismatch, "dec_")
	if resp, err := native.Head(shop + "/api/orders"); err == nil {
		resp.Body.Close()
		t.Errorf("HEAD passed with %d", resp.StatusCode)
	} else if e, ok := errors.AsType[*client.Error](err); !ok || !strings.HasPrefix(e.DecisionID, "dec_") {
		t.Errorf("HEAD: %v", err)
	}
	if err := c.Revoke(ctx, tokens[stage.App].Access); err != nil {
		t.Fatal(err)
	}
	refused(native, shop+"/api/products", http.StatusUnauthorized, ath.TokenRevoked, "dec_")
	if err := s.Athd.Stop(); err != nil {
		t.Fatal(err)
	}
	refused(native, shop+"/api/products", http.StatusServiceUnavailable, ath.InternalError, "env_")
}

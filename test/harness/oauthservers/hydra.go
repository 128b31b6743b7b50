package oauthservers

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/reserve"
)

// hydra is Ory Hydra as it comes, with the pages that it leaves to its operator by
// [hydraPages]. It has no tolerance for a refresh token that comes again;
// rotation_grace_period would give one.
var hydra = kind{
	version: pinned{"hydra/go.mod", `ory/hydra/v2 v(\S+)`}, ready: "/.well-known/openid-configuration", scope: "products:read",
	extra: []string{"openid", "offline_access"}, userField: "username", api: "/userinfo", command: startHydra,
	allow: func(f *browser.Form) *browser.Form { return f.Click("Allow") },
}

// hydraDatabase lets requests at the same time wait for each other, by locks of
// SQLite alone: lock=false switches off one of its library, which deadlocks with
// them. With its database in memory Hydra answers them 500.
const hydraDatabase = "?_fk=true&_journal_mode=WAL&_txlock=immediate&_busy_timeout=10000&_synchronous=OFF&lock=false"

func startHydra(t testing.TB, s *Server, address string) *exec.Cmd {
	t.Helper()
	dir, admin := t.TempDir(), reserve.Addr(t)
	pages := &hydraPages{admin: "http://" + admin}
	srv := httptest.NewServer(pages.handler())
	t.Cleanup(srv.Close)
	s.pages = srv.URL
	s.setUp = func() { registerAtHydra(t, s, pages) }
	listen := func(address string) map[string]any {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{"host": host, "port": json.Number(port)}
	}
	config, err := json.Marshal(map[string]any{
		"dsn":     "sqlite://" + filepath.Join(dir, "hydra.db") + hydraDatabase,
		"serve":   map[string]any{"public": listen(address), "admin": listen(admin), "cookies": map[string]any{"same_site_mode": "Lax"}},
		"urls":    map[string]any{"self": map[string]any{"issuer": s.Issuer}, "login": srv.URL + "/login", "consent": srv.URL + "/consent"},
		"secrets": map[string]any{"system": []string{s.Athd.Secret + s.Other.Secret}},
		"oauth2":  map[string]any{"pkce": map[string]any{"enforced": true}},
		"log":     map[string]any{"level": "warn"},
	})
	program, file := tool(t, "hydra", "oauth-hydra"), filepath.Join(dir, "hydra.json")
	if err == nil {
		err = os.WriteFile(file, config, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), program, "migrate", "sql", "up", "--yes", "-e", "-c", file).CombinedOutput(); err != nil {
		t.Fatalf("hydra makes no tables: %v\n%s", err, out)
	}
	return exec.Command(program, "serve", "all", "--dev", "--sqa-opt-out", "-c", file)
}

// registerAtHydra registers both clients, once its admin API answers.
func registerAtHydra(t testing.TB, s *Server, pages *hydraPages) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := pages.ask(t.Context(), http.MethodGet, "/health/ready", nil, nil, nil)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("hydra's admin API does not answer: %v", err)
		}
	}
	for _, c := range []struct {
		Client
		redirects []string
		life      string
	}{{s.Athd, s.redirects, "3s"}, {s.Other, []string{s.Other.RedirectURI}, "300s"}} {
		if err := pages.ask(t.Context(), http.MethodPost, "/admin/clients", nil, map[string]any{
			"client_id": c.ID, "client_secret": c.Secret, "token_endpoint_auth_method": "client_secret_post",
			"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "redirect_uris": c.redirects,
			"scope": "openid offline_access products:read orders:read",
			"authorization_code_grant_access_token_lifespan": c.life,
			"refresh_token_grant_access_token_lifespan":      c.life,
		}, nil); err != nil {
			t.Fatalf("hydra does not register client %s: %v", c.ID, err)
		}
	}
}

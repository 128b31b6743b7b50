package oauthservers

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/athd/athd/internal/browser"
)

// keycloak runs Keycloak in its development mode, in a folder of its own, with a
// realm shop: plain http, its database a file, refresh tokens for one use.
var keycloak = kind{
	version: pinned{"../../../tools/parts/keycloak.py", `VERSION = "(.*)"`}, path: "/realms/shop", ready: "/realms/shop/.well-known/openid-configuration", scope: "products:read",
	extra: []string{"openid"}, userField: "username", api: "/realms/shop/protocol/openid-connect/userinfo",
	allow:   func(f *browser.Form) *browser.Form { return f.Click("Yes") },
	command: startKeycloak, patience: 4 * time.Minute, anyMethod: true,
}

func startKeycloak(t testing.TB, s *Server, address string) *exec.Cmd {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keycloak")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(filepath.Dir(followed(t, tool(t, "keycloak", "oauth-keycloak"))), "keycloak"))); err != nil {
		t.Fatal(err)
	}
	realm, err := json.Marshal(keycloakRealm(s))
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, "data", "import"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "data", "import", "shop-realm.json"), realm, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	// An argument of sh, since files are copied without the right to run them.
	cmd := exec.Command("sh", filepath.Join(dir, "bin", "kc.sh"), "start-dev", "--http-host", host, "--http-port", port, "--import-realm", "--cache=local")
	cmd.Env = []string{"JAVA_OPTS_KC_HEAP=-Xms128m -Xmx512m"}
	return cmd
}

// keycloakRealm is what an administrator sets up: two clients that users have to
// agree to, two scopes, and the users.
func keycloakRealm(s *Server) map[string]any {
	client := func(c Client, redirects []string, life string) map[string]any {
		return map[string]any{
			"clientId": c.ID, "secret": c.Secret, "protocol": "openid-connect", "publicClient": false, "standardFlowEnabled": true,
			"directAccessGrantsEnabled": false, "fullScopeAllowed": true, "consentRequired": true, "redirectUris": redirects,
			"attributes":           map[string]any{"pkce.code.challenge.method": "S256", "access.token.lifespan": life},
			"defaultClientScopes":  []string{"basic"},
			"optionalClientScopes": []string{"products:read", "orders:read", "offline_access"},
		}
	}
	scope := func(name string, mappers ...any) map[string]any {
		shown := "true"
		if name == "basic" {
			shown = "false"
		}
		return map[string]any{
			"name": name, "protocol": "openid-connect", "protocolMappers": append([]any{}, mappers...),
			"attributes": map[string]any{"include.in.token.scope": shown, "display.on.consent.screen": shown},
		}
	}
	var users []any
	for _, name := range Users {
		users = append(users, map[string]any{
			"username": name, "enabled": true, "email": name + "@example.com", "emailVerified": true, "firstName": name, "lastName": "Example",
			"credentials": []any{map[string]any{"type": "password", "value": password, "temporary": false}},
			"realmRoles":  []string{"offline_access", "default-roles-shop"},
		})
	}
	return map[string]any{
		"realm": "shop", "enabled": true, "sslRequired": "none", "revokeRefreshToken": true, "refreshTokenMaxReuse": 0,
		"clients": []any{client(s.Athd, s.redirects, "3"), client(s.Other, []string{s.Other.RedirectURI}, "300")},
		"clientScopes": []any{
			scope("products:read"), scope("orders:read"), scope("offline_access"),
			scope("basic", map[string]any{
				"name": "sub", "protocol": "openid-connect", "protocolMapper": "oidc-sub-mapper",
				"config": map[string]any{"access.token.claim": "true", "introspection.token.claim": "true"},
			}),
		},
		"users": users,
	}
}

package oauthservers

import (
	"encoding/json"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/internal/browser"
)

// spring is Spring Authorization Server with refresh tokens for one use, as
// Spring Boot sets it up; the scope offline_access it does not know.
var spring = kind{
	version: pinned{"spring/jars.sha256", `spring-security-oauth2-authorization-server-(.*)\.jar`}, ready: "/.well-known/openid-configuration", scope: "products:read",
	extra: []string{"openid"}, userField: "username", api: "/userinfo", command: startSpring, patience: 2 * time.Minute,
	allow: func(f *browser.Form) *browser.Form { return f.Tick("scope", "products:read").Click("Submit Consent") },
}

func startSpring(t testing.TB, s *Server, address string) *exec.Cmd {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	client := func(c Client, redirects []string, life string) map[string]any {
		return map[string]any{
			"require-authorization-consent": true,
			"registration": map[string]any{
				"client-id": c.ID, "client-secret": "{noop}" + c.Secret, "client-authentication-methods": []string{"client_secret_post"},
				"authorization-grant-types": []string{"authorization_code", "refresh_token"}, "redirect-uris": redirects,
				"scopes": []string{"openid", "products:read", "orders:read"},
			},
			"token": map[string]any{"access-token-time-to-live": life, "reuse-refresh-tokens": false},
		}
	}
	settings, err := json.Marshal(map[string]any{
		"server": map[string]any{"address": host, "port": port},
		"spring": map[string]any{
			"main": map[string]any{"banner-mode": "off"},
			"security": map[string]any{"oauth2": map[string]any{"authorizationserver": map[string]any{
				"issuer": s.Issuer,
				"client": map[string]any{"athd": client(s.Athd, s.redirects, "3s"), "other": client(s.Other, []string{s.Other.RedirectURI}, "300s")},
			}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool(t, "spring", "oauth-spring"))
	cmd.Env = []string{"SPRING_APPLICATION_JSON=" + string(settings), "USERS=" + strings.Join(Users, ",")}
	return cmd
}

package oauthservers

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/athd/athd/internal/browser"
)

// dex has no scopes of one's own, no revocation endpoint, and one refresh token
// for each user and client. A refresh token that comes again within reuseInterval
// is answered as the first time: here that is switched off.
var dex = kind{
	version: pinned{"dex/go.mod", `dexidp/dex v0.0.0-(\S+)`}, path: "/dex", ready: "/dex/.well-known/openid-configuration", scope: "email",
	extra: []string{"openid", "offline_access"}, userField: "login", userSuffix: "@example.com", api: "/dex/userinfo", command: startDex, shorten: true, anyMethod: true,
	more:  map[string]any{"refresh_denied_errors": []string{"invalid_request"}},
	allow: func(f *browser.Form) *browser.Form { return f.Click("Grant Access") },
}

// passwordHash is of the password that all users have.
const passwordHash = "$2a$10$eiSPdk9Gff9DvMSozq8HFeeRYYMgAXkQ/bufIgTfT.IGzVOavT2Km"

func startDex(t testing.TB, s *Server, address string) *exec.Cmd {
	t.Helper()
	program := tool(t, "dex", "oauth-dex")
	var users []any
	for _, name := range Users {
		users = append(users, map[string]any{"email": name + "@example.com", "hash": passwordHash, "username": name, "userID": "id-of-" + name})
	}
	config, err := json.Marshal(map[string]any{ // which is YAML
		"issuer": s.Issuer, "storage": map[string]any{"type": "memory"}, "web": map[string]any{"http": address},
		"frontend":         map[string]any{"dir": filepath.Join(filepath.Dir(followed(t, program)), "web")},
		"expiry":           map[string]any{"idTokens": "10m", "refreshTokens": map[string]any{"reuseInterval": "0s"}},
		"oauth2":           map[string]any{"skipApprovalScreen": false},
		"enablePasswordDB": true, "staticPasswords": users,
		"staticClients": []any{
			map[string]any{"id": s.Athd.ID, "name": "athd", "secret": s.Athd.Secret, "redirectURIs": s.redirects},
			map[string]any{"id": s.Other.ID, "name": "other", "secret": s.Other.Secret, "redirectURIs": []string{s.Other.RedirectURI}},
		},
	})
	file := filepath.Join(t.TempDir(), "dex.json")
	if err == nil {
		err = os.WriteFile(file, config, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(program, "serve", file)
}

package oauthserver_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/athd/athd/internal/oauthserver"
)

const apiSecret = "secret-of-the-shop"

func withAPI(c *oauthserver.Config) {
	c.APIs = []oauthserver.API{{ID: "shop", Secret: apiSecret}}
}

func TestIntrospection(t *testing.T) {
	w := newWorld(t, withAPI)
	got := w.granted("products:read cart:write")
	const no = `{"active":false}` + "\n"
	tests := []struct {
		name, id, secret, token string
		status                  int
		body                    string
	}{
		{"a live token", "shop", apiSecret, got.Access, 200, `{"active":true,"scope":"products:read cart:write","sub":"u-1"}` + "\n"},
		{"an unknown token", "shop", apiSecret, "guess", 200, no},
		{"no token", "shop", apiSecret, "", 200, no},
		{"another secret", "shop", apiSecret + "x", got.Access, 401, ""},
		{"no secret", "shop", "", got.Access, 401, ""},
		{"another API", "other", apiSecret, got.Access, 401, ""},
		{"a client is no API", clientID, clientSecret, got.Access, 401, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reply := w.post("/introspect", url.Values{"token": {test.token}}, func(r *http.Request) { r.SetBasicAuth(test.id, test.secret) })
			if reply.status != test.status || test.body != "" && reply.body != test.body {
				t.Errorf("%d %s", reply.status, reply.body)
			}
		})
	}
	w.skew.Store(int64(2 * 3600e9))
	if reply := w.post("/introspect", url.Values{"token": {got.Access}}, func(r *http.Request) { r.SetBasicAuth("shop", apiSecret) }); reply.body != no {
		t.Errorf("an expired token: %s", reply.body)
	}
}

// Who was let in before a restart is let in after it, and who was not is not.
func TestGrantsOutliveARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	keep := func(c *oauthserver.Config) { c.File = file }
	before := newWorld(t, keep)
	alive, revoked := before.granted("products:read"), before.granted("cart:write")
	if reply := before.post("/revoke", url.Values{"token": {revoked.Access}, "client_id": {clientID}, "client_secret": {clientSecret}}, nil); reply.status != 200 {
		t.Fatalf("revoke = %d %s", reply.status, reply.body)
	}
	after := newWorld(t, keep)
	if user, scopes, ok := after.Lookup(alive.Access); !ok || user != "u-1" || len(scopes) != 1 {
		t.Errorf("the living: %q %v %v", user, scopes, ok)
	}
	if _, _, ok := after.Lookup(revoked.Access); ok {
		t.Error("a revoked token came back to life")
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v %v", info.Mode(), err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := oauthserver.New(oauthserver.Config{
		Issuer: "http://127.0.0.1:1", File: file,
		Clients: []oauthserver.Client{{ID: "c", Secret: "s", RedirectURIs: []string{redirectURI}, Scopes: []string{"a"}}},
	})
	if err == nil {
		t.Error("a broken file was overwritten")
	}
}

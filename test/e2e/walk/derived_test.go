package walk

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/stage"
)

// TestSevenFieldsAreEnough: a provider of which nothing is said but what every
// file says is judged by its scopes' names, athd says so, and strict_scopes
// refuses it.
// proves: P-4
func TestSevenFieldsAreEnough(t *testing.T) {
	s := stage.Start(t, stage.Options{Mode: "gateway"})
	path := filepath.Join(s.Dir, "providers.json")
	err := os.WriteFile(path, []byte(`{"gallery": {
		"display_name": "The Gallery", "available_scopes": ["pictures:read", "pictures:write"],
		"authorize_endpoint": "`+s.Issuer+`/authorize", "token_endpoint": "`+s.Issuer+`/token", "api_base_url": "`+s.Gallery.URL+`/v1",
		"client_id": "athd", "client_secret": "`+stage.Secret+`"}}`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s.RestartAthd()
	if !strings.Contains(s.Athd.Logs(), "provider gallery: no scope_rules; derived from the scopes' names: pictures:read: GET /**/pictures/**; pictures:write: POST,PUT,PATCH,DELETE /**/pictures/**") {
		t.Errorf("P-4: athd does not say at start which rules it derived:\n%s", s.Athd.Logs())
	}
	token := s.Token(s.NewAgent("reader"), stage.Provider, "pictures:read")
	for _, call := range []struct {
		method, target string
		status         int
	}{
		{"GET", "/pictures", 200}, {"GET", "/pictures/7/large", 200}, {"HEAD", "/albums/1/pictures", 200},
		{"POST", "/pictures", 403}, {"DELETE", "/pictures/7", 403}, {"OPTIONS", "/pictures", 403},
		{"GET", "/", 403}, {"GET", "/albums", 403}, {"GET", "/picturesque", 403}, {"GET", "/Pictures", 403},
	} {
		s.Gallery.Forget()
		r := raw(t, s, request(s, call.method, "/ath/proxy/gallery"+call.target, token.Access.Reveal(), token.AgentID, "Content-Length: 0", "Connection: close")...)
		if r.status != call.status || (r.status == http.StatusOK) != (s.Gallery.Hits() == 1) {
			t.Errorf("P-4: %s %s: %d, want %d; the API saw %d requests\n%s", call.method, call.target, r.status, call.status, s.Gallery.Hits(), r.body)
		}
	}
	t.Run("an event tells that nobody wrote the rule", func(t *testing.T) {
		r := raw(t, s, request(s, "GET", "/ath/proxy/gallery/pictures/1", token.Access.Reveal(), token.AgentID, "Connection: close")...)
		if r.status != http.StatusOK {
			t.Fatal(r.status)
		}
		for end := time.Now().Add(patience); !strings.Contains(s.Athd.Logs(), `"derived_rule":true`); time.Sleep(5 * time.Millisecond) { // events of calls are written behind the reply
			if time.Now().After(end) {
				t.Fatal("P-4: no event says that its rule was derived")
			}
		}
	})
	t.Run("strict_scopes refuses it", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(s.Dir, "athd.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.Dir, "strict.yaml"), append(text, "\nstrict_scopes: true\n"...), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"validate", "serve"} {
			_, stderr, err := stage.Run(t, s.Dir, command, "--config", "strict.yaml")
			if err == nil || !strings.Contains(stderr, `providers.json:1:2: scope_rules: are missing, and strict_scopes is on: write what each scope of provider gallery opens, such as {"scope": "pictures:read", "methods": ["GET"], "paths": ["/pictures/**"]}`) {
				t.Errorf("athd %s: %v\n%s", command, err, stderr)
			}
		}
	})
}

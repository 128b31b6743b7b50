package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

// Every door of operators is on one listener, and on no other: the table of
// docs/operations.md has them all (TestTheTableOfRolesHasEveryDoor).
// S-10; proves: O-1
func TestOperatorsAreServedWhereTheConfigurationSays(t *testing.T) {
	const token = "qHkW0mZ9vT3sYpL7xR2cN8fJ5gD1bK4uE6aVwXoQiM0" // of newPlace
	const tokens = "tokens: [{name: ops, token_file: admin.token, role: admin}]"
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	doors := regexp.MustCompile("(?m)^\\| `([A-Z]+) (/ath/[^`]+)`[^|]*\\| (?:yes|–)").FindAllStringSubmatch(string(text), -1)
	if len(doors) < 20 {
		t.Fatalf("docs/operations.md has %d doors", len(doors))
	}
	for _, c := range []struct {
		name, admin string
		public      bool
	}{
		{"by default where agents are", "{" + tokens + "}", true},
		{"or on the admin listener alone", "{public: false, " + tokens + "}", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, map[string]string{"admin": c.admin})
			agent, err := ath.ParseAgentID("https://agents.example.com/nobody.json", false)
			if err != nil {
				t.Fatal(err)
			}
			ids := strings.NewReplacer("{client_id}", ath.NewClientID(agent).String(), "{connection_id}", ath.NewConnectionID(ath.NewTag()).String(), "{provider_id}", "nothing", "…", "user-1")
			ask := func(at, method, path string) (status int, message string) {
				t.Helper()
				var body io.Reader
				if method != http.MethodGet {
					body = strings.NewReader("{}")
				}
				req, err := http.NewRequestWithContext(t.Context(), method, "http://"+at+ids.Replace(path), body)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = "gateway.example.com"
				req.Header.Set("X-ATH-User-Token", token)
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				var refusal struct{ Message string }
				_ = json.NewDecoder(resp.Body).Decode(&refusal) // some answers are no refusals
				return resp.StatusCode, refusal.Message
			}
			open, closed := r.HTTP, r.Admin
			if !c.public {
				open, closed = r.Admin, r.HTTP
			}
			_, none := ask(open, http.MethodGet, "/ath/admin/nothing")
			for _, d := range doors {
				method, path := d[1], d[2]
				if status, message := ask(open, method, path); status == http.StatusUnauthorized || status == http.StatusMethodNotAllowed || message == none {
					t.Errorf("%s %s: %d %s", method, path, status, message)
				}
				want := http.StatusNotFound
				if path == "/ath/revoke" && !c.public {
					want = http.StatusUnauthorized // it is for agents there
				}
				if status, message := ask(closed, method, path); status != want {
					t.Errorf("%s %s where no operator is served: %d %s, want %d", method, path, status, message, want)
				}
			}
			if status, _ := ask(open, http.MethodGet, "/ath/admin/whoami"); status != http.StatusOK {
				t.Errorf("whoami: %d", status)
			}
		})
	}
}

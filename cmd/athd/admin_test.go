package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// S-10; proves: O-1
func TestOperatorsAreServedWhereTheConfigurationSays(t *testing.T) {
	const token = "qHkW0mZ9vT3sYpL7xR2cN8fJ5gD1bK4uE6aVwXoQiM0" // of newPlace
	const tokens = "tokens: [{name: ops, token_file: admin.token}]"
	for _, c := range []struct {
		name, admin       string
		companion, behind int
	}{
		{"by default where agents are", "{" + tokens + "}", http.StatusOK, http.StatusNotFound},
		{"or on the admin listener alone", "{public: false, " + tokens + "}", http.StatusNotFound, http.StatusOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, map[string]string{"admin": c.admin})
			for at, want := range map[string]int{r.HTTP: c.companion, r.Admin: c.behind} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+"/ath/admin/agents", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = "gateway.example.com"
				req.Header.Set("X-ATH-User-Token", token)
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != want || want == http.StatusOK && !strings.Contains(string(text), `"agents"`) {
					t.Errorf("%s: %d %s, want %d", at, resp.StatusCode, text, want)
				}
			}
		})
	}
}

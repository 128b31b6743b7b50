package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// Who watches athd learns in time that an operator's token ends, and that somebody
// is refused.
// proves: O-1
func TestMetricsTellWhenOperatorsTokensEnd(t *testing.T) {
	r := start(t, map[string]string{"admin": "{tokens: [" +
		"{name: ops, token_file: admin.token, role: admin, expires: 2020-01-01T00:00:00Z}, {name: ops, token_file: long.token, role: admin, expires: 2099-01-31T00:00:00Z}," +
		"{name: vera, token_file: third.token, role: viewer}]}"})
	get := func(path, token string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.HTTP+path, nil)
		if path == "/metrics" {
			req, err = http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Admin+path, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "gateway.example.com"
		if token != "" {
			req.Header.Set("X-ATH-User-Token", token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	const old, next = "qHkW0mZ9vT3sYpL7xR2cN8fJ5gD1bK4uE6aVwXoQiM0", "Zt5KpW8mXc2VnQ7rJ4hLs9YdF1gB6xRkT3vNqE0aUoM"
	for _, c := range []struct {
		path, token string
		want        int
	}{
		{"/ath/admin/whoami", "", 401}, {"/ath/admin/whoami", "none-that-is-known", 401}, {"/ath/admin/whoami", old, 401}, {"/ath/admin/whoami", next, 200},
	} {
		if status, text := get(c.path, c.token); status != c.want {
			t.Errorf("%s: %d %s, want %d", c.path, status, text, c.want)
		}
	}
	_, all := get("/metrics", "")
	for _, want := range []string{
		`athd_admin_token_expiry_timestamp_seconds{operator="ops",role="admin"} 4.0735008e+09`,
		`athd_admin_token_expiry_timestamp_seconds{operator="vera",role="viewer"} +Inf`,
		`athd_operator_refusals_total{reason="unknown"} 2`, `athd_operator_refusals_total{reason="expired"} 1`, `athd_operator_refusals_total{reason="role"} 0`,
	} {
		if !strings.Contains(all, want+"\n") {
			t.Errorf("no %s in\n%s", want, grepped(all, "operator"))
		}
	}
}

func grepped(text, word string) (found string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			found += line
		}
	}
	return found
}

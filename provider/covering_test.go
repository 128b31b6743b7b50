package provider_test

import (
	"strings"
	"testing"
)

// proves: P-11
func TestTheScopeThatCoversLeastElseComesFirst(t *testing.T) {
	p := parseOne(t, `"available_scopes": ["admin", "repo", "read", "one", "live"], "scope_rules": [
		{"scope": "admin", "methods": ["GET", "POST", "DELETE"], "paths": ["/**"]},
		{"scope": "repo", "methods": ["GET", "POST"], "paths": ["/repos/**"]},
		{"scope": "read", "methods": ["GET"], "paths": ["/repos/**"]},
		{"scope": "one", "methods": ["GET", "POST"], "paths": ["/x/**", "/repos/*"]},
		{"scope": "live", "methods": ["GET"], "paths": ["/live"], "upgrade": ["websocket"]}]`)
	for _, c := range []struct {
		method, path string
		upgrade      bool
		want         string
	}{
		{"GET", "/repos/7", false, "one read repo admin"},
		{"GET", "/repos/7/issues", false, "read repo admin"},
		{"POST", "/repos/7/issues", false, "repo admin"},
		{"HEAD", "/repos/7/issues", false, "read repo admin"},
		{"DELETE", "/repos/7", false, "admin"},
		{"PUT", "/repos/7", false, ""},
		{"GET", "/live", false, "live admin"},
		{"GET", "/live", true, "live"},
		{"GET", "/repos/7", true, ""},
	} {
		if got := strings.Join(p.Covering(c.method, segments(c.path), c.upgrade), " "); got != c.want {
			t.Errorf("%s %s (upgrade %v): %q, want %q", c.method, c.path, c.upgrade, got, c.want)
		}
	}
	derived := parseOne(t, `"available_scopes": ["products:read", "products:write"]`)
	if got := strings.Join(derived.Covering("POST", segments("/v2/products/7"), false), " "); got != "products:write" {
		t.Errorf("derived: %q", got)
	}
}

package provider_test

import (
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// With the option a rule sees the encoded segment as one.
// proves: P-4
func TestRulesSeeEncodedSlashes(t *testing.T) {
	const rules = `"available_scopes": ["any", "mine"], "scope_rules": [
		{"scope": "any", "methods": ["GET"], "paths": ["/projects/*/issues"]},
		{"scope": "mine", "methods": ["GET"], "paths": ["/projects/group%2Fproject/**"]}]`
	p := parseOne(t, `"allow_encoded_slash": true, `+rules)
	if !p.EncodedSlash {
		t.Fatal("the option was not read")
	}
	for _, tt := range []struct{ path, scope, want string }{
		{"/projects/group%2Fproject/issues", "any", "any"},
		{"/projects/a%2Fb%2Fc/issues", "any", "any"},
		{"/projects/group/project/issues", "any", ""},
		{"/projects/group%2Fproject", "any", ""},
		{"/projects/group%2Fproject/x/y", "mine", "mine"},
		{"/projects/group%2Fother", "mine", ""},
		{"/projects/group/project", "mine", ""},
	} {
		if got, _ := p.Permits("GET", strings.Split(tt.path[1:], "/"), ath.Scopes{tt.scope}); got != tt.want {
			t.Errorf("P-4: %s with %s: %q, want %q", tt.path, tt.scope, got, tt.want)
		}
	}
	for _, bad := range []string{
		rules, // without the option
		`"allow_encoded_slash": true, ` + strings.ReplaceAll(rules, "%2F", "%2f"),
		`"allow_encoded_slash": true, ` + strings.ReplaceAll(rules, "%2F", "%2F%2F"),
		`"allow_encoded_slash": true, ` + strings.ReplaceAll(rules, "%2F", "%2F..%2F"),
	} {
		if _, faults := provider.Parse("f", []byte(`{"p": {"display_name": "P", "authorize_endpoint": "https://a.example/a",
			"token_endpoint": "https://a.example/t", "client_id": "c", "client_secret": "s", `+bad+`}}`), provider.Options{}); len(faults) != 1 ||
			!strings.Contains(faults.Error(), "scope_rules[1].paths[0]") {
			t.Errorf("%s: faults %v", bad, faults)
		}
	}
}

func TestAppMayAllowEncodedSlashes(t *testing.T) {
	all, faults := parseApps(t, `
apps:
  - app_id: forge
    upstream: http://127.0.0.1:1
    available_scopes: [a]
    allow_encoded_slash: true
    scope_rules: [{scope: a, methods: [GET], paths: ["/x%2Fy"]}]
    oauth: {authorize_endpoint: "https://as.example/auth", token_endpoint: "https://as.example/token", client_id: id, token_auth_method: none}
`)
	if faults != nil {
		t.Fatal(faults)
	}
	if !all[0].EncodedSlash {
		t.Error("the option was not read")
	}
}

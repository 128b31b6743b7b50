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

// Rules see what an API takes inside of a segment encoded, as it is sent.
// proves: P-4
// F-16
func TestRulesSeeEncodedDelimiters(t *testing.T) {
	const rules = `"available_scopes": ["any", "mine"], "scope_rules": [
		{"scope": "any", "methods": ["GET"], "paths": ["/calendars/*/events"]},
		{"scope": "mine", "methods": ["GET"], "paths": ["/calendars/a%23b/**"]}]`
	p := parseOne(t, `"allow_encoded": ["#", "?"], `+rules)
	if want := ath.EncodedHash | ath.EncodedQuestion; p.Encodable() != want {
		t.Fatalf("allowed: %q", p.Encodable().Delimiters())
	}
	for _, tt := range []struct{ path, scope, want string }{
		{"/calendars/a%23b/events", "any", "any"},
		{"/calendars/a%3Fb/events", "any", "any"},
		{"/calendars/a%23b/x", "mine", "mine"},
		{"/calendars/a%23c/x", "mine", ""},
		{"/calendars/a#b/x", "mine", ""},
	} {
		if got, _ := p.Permits("GET", strings.Split(tt.path[1:], "/"), ath.Scopes{tt.scope}); got != tt.want {
			t.Errorf("P-4: %s with %s: %q, want %q", tt.path, tt.scope, got, tt.want)
		}
	}
	for members, want := range map[string]string{
		rules:                                       "scope_rules[1].paths[0]", // without the option
		`"allow_encoded": ["?", "%"], ` + rules:     "scope_rules[1].paths[0]",
		`"allow_encoded": ["/"]`:                    "allow_encoded[0]: for %2F write allow_encoded_slash",
		`"allow_encoded": ["#", ";"]`:               "allow_encoded[1]",
		`"allow_encoded": ["%23"]`:                  "allow_encoded[0]",
		`"allow_encoded": ["#?"]`:                   "allow_encoded[0]",
		`"allow_encoded": [""]`:                     "allow_encoded[0]",
		`"allow_encoded": "#"`:                      "want a list",
		`"allow_encoded": ["\\"], "preset": "none"`: "allow_encoded[0]",
	} {
		if _, faults := provider.Parse("f", []byte(oneProvider(members)), testOptions); len(faults) != 1 || !strings.Contains(faults.Error(), want) {
			t.Errorf("%s: faults %v, want %s", members, faults, want)
		}
	}
}

// A preset knows what its API's ids hold; what is written wins.
func TestPresetsAllowWhatTheirIdsHold(t *testing.T) {
	calendar := `"available_scopes": ["` + google + `calendar.readonly"], "api_base_url": "https://www.googleapis.com/calendar/v3"`
	for members, want := range map[string]ath.Encodable{
		calendar: ath.EncodedHash,
		calendar + `, "scope_rules": [{"scope": "` + google + `calendar.readonly", "methods": ["GET"], "paths": ["/calendars/a%23b"]}]`: ath.EncodedHash,
		calendar + `, "allow_encoded": []`:                 0,
		calendar + `, "allow_encoded": ["?"]`:              ath.EncodedQuestion,
		calendar + `, "preset": "none", "scope_rules": []`: 0,
		`"preset": "google-calendar", "available_scopes": ["` + google + `calendar.readonly"], "api_base_url": "https://stand-in.example/calendar/v3"`: ath.EncodedHash,
		`"api_base_url": "https://api.github.com", "available_scopes": ["repo"]`:                                                                       ath.EncodedHash | ath.EncodedQuestion | ath.EncodedPercent,
		`"api_base_url": "https://gmail.googleapis.com/gmail/v1", "available_scopes": ["https://mail.google.com/"]`:                                    0,
		`"api_base_url": "https://www.googleapis.com/drive/v3", "available_scopes": ["` + google + `drive"]`:                                           0,
		`"api_base_url": "https://api.example"`: 0,
	} {
		if got := parseOne(t, members).Encodable(); got != want {
			t.Errorf("%s: %q, want %q", members, got.Delimiters(), want.Delimiters())
		}
	}
}

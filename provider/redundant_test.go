package provider_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/athd/athd/provider"
	"github.com/athd/athd/strict"
)

// warnings parses a provider and returns what was said of it.
func warnings(t *testing.T, members string, opt provider.Options) (said []string, faults strict.Faults) {
	t.Helper()
	opt.Warn = func(f strict.Fault) { said = append(said, f.Message) }
	_, faults = provider.Parse("providers.json", []byte(oneProvider(members)), opt)
	return said, faults
}

// TestPathsThatAnotherPathCovers: the first path is given before the second,
// in one rule.
func TestPathsThatAnotherPathCovers(t *testing.T) {
	for _, c := range []struct {
		first, second string
		redundant     int // the index of the path that nobody needs; -1: both are needed
	}{
		{"/a", "/a", 1},
		{"/a", "/b", -1},
		{"/a", "/a/b", -1},
		{"/", "/a", -1},
		{"/**", "/", 1},
		{"/**", "/a/*/b", 1},
		{"/a/**", "/a", 1},
		{"/a/**", "/a/b", 1},
		{"/a/**", "/a/b/**", 1},
		{"/a/**", "/b/**", -1},
		{"/a/**", "/*", -1},
		{"/a/b", "/a/**", 0},
		{"/a/b/**", "/a/**", 0},
		{"/*", "/a", 1},
		{"/*", "/a/b", -1},
		{"/*", "/a/**", -1},
		{"/*/**", "/a/**", 1},
		{"/*/**", "/**", 0},
		{"/a/*", "/*/b", -1},
		{"/a/*", "/a/b", 1},
		{"/a/*/c", "/a/b/c", 1},
		{"/a/b/c", "/a/*/c", 0},
		{"/a/*", "/a/**", 0},
	} {
		t.Run(c.first+" and "+c.second, func(t *testing.T) {
			paths, err := json.Marshal([]string{c.first, c.second})
			if err != nil {
				t.Fatal(err)
			}
			said, faults := warnings(t, `"available_scopes": ["a"], "scope_rules": [{"scope": "a", "methods": ["GET"], "paths": `+string(paths)+`}]`, testOptions)
			var want []string
			if c.redundant >= 0 {
				want = append(want, fmt.Sprintf("scope_rules[0].paths[%d]: is redundant: paths[%d] matches all of it", c.redundant, 1-c.redundant))
			}
			if faults != nil || strings.Join(said, "\n") != strings.Join(want, "\n") {
				t.Errorf("got %q %v, want %q", said, faults, want)
			}
		})
	}
}

func TestRulesThatAnotherRuleCovers(t *testing.T) {
	rule := func(scope, methods, paths string) string {
		quote := func(list string) string { return `["` + strings.ReplaceAll(list, " ", `", "`) + `"]` }
		return fmt.Sprintf(`{"scope": %q, "methods": %s, "paths": %s}`, scope, quote(methods), quote(paths))
	}
	for _, c := range []struct {
		name  string
		rules []string
		want  string // such as "1 by 0"; "": every rule is needed
	}{
		{"the same rule twice", []string{rule("a", "GET", "/x"), rule("a", "GET", "/x")}, "1 by 0"},
		{"the same rule for another scope", []string{rule("a", "GET", "/x"), rule("b", "GET", "/x")}, ""},
		{"a narrower rule behind", []string{rule("a", "GET POST", "/x/**"), rule("a", "POST", "/x/y /x/z")}, "1 by 0"},
		{"a narrower rule before", []string{rule("a", "GET", "/x/y"), rule("a", "GET", "/x/**")}, "0 by 1"},
		{"HEAD goes with GET", []string{rule("a", "GET", "/x"), rule("a", "HEAD", "/x")}, "1 by 0"},
		{"GET does not go with HEAD", []string{rule("a", "HEAD", "/x"), rule("a", "POST", "/x")}, ""},
		{"one more method is needed", []string{rule("a", "GET", "/**"), rule("a", "GET POST", "/x")}, ""},
		{"one more path is needed", []string{rule("a", "GET", "/x /z"), rule("a", "GET", "/x /y")}, ""},
		{"only two others together cover it", []string{rule("a", "GET", "/x"), rule("a", "POST", "/x"), rule("a", "GET POST", "/x")}, "0 by 2, 1 by 2"},
		{"no rule at all", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			said, faults := warnings(t, `"available_scopes": ["a", "b"], "scope_rules": [`+strings.Join(c.rules, ", ")+`]`, testOptions)
			var want []string
			for pair := range strings.SplitSeq(c.want, ", ") {
				if redundant, by, ok := strings.Cut(pair, " by "); ok {
					want = append(want, "scope_rules["+redundant+"]: is redundant: scope_rules["+by+"] allows all of it for the same scope")
				}
			}
			if faults != nil || strings.Join(said, "\n") != strings.Join(want, "\n") {
				t.Errorf("got %q %v, want %q", said, faults, want)
			}
		})
	}
	t.Run("a file with a fault is not warned of", func(t *testing.T) {
		if said, faults := warnings(t, `"available_scopes": ["a"], "scope_rules": [`+rule("a", "GET", "/x")+`, `+rule("b", "GET", "/x")+`, `+rule("a", "GET", "/x")+`]`, testOptions); len(faults) != 1 || said != nil {
			t.Errorf("got %q %v", said, faults)
		}
	})
}

// proves: P-4
func TestStrictScopes(t *testing.T) {
	opt := testOptions
	opt.StrictScopes = true
	for members, want := range map[string]string{
		`"available_scopes": ["files:read"]`:  `write what each scope of provider p opens, such as {"scope": "files:read", "methods": ["GET"], "paths": ["/files/**"]}`,
		`"available_scopes": ["x", "manage"]`: `such as {"scope": "manage", "methods": ["POST"], "paths": ["/**"]}`,
		`"available_scopes": ["openid"]`:      `such as {"scope": "openid", "methods": ["GET"], "paths": ["/some/path"]}`,
		`"available_scopes": ["files:read"], "scope_rules": [{"scope": "files:read", "methods": ["GET"], "paths": ["/files"]}]`: "",
		`"scope_rules": []`: "",
	} {
		_, faults := warnings(t, members, opt)
		if (want == "") != (len(faults) == 0) || !strings.Contains(faults.Error(), want) || want != "" && !strings.Contains(faults.Error(), "strict_scopes is on") {
			t.Errorf("P-4: %s: got %v, want %q", members, faults, want)
		}
	}
}

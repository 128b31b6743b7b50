package guides

import (
	"regexp"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

var variable = regexp.MustCompile(`\$\{(\w+)\}`)

// Every configuration in README and docs is one that athd takes.
func TestConfigurationsLoad(t *testing.T) {
	shown := 0
	for _, page := range pages(t) {
		for _, m := range variable.FindAllStringSubmatch(read(t, page), -1) {
			t.Setenv(m[1], "a-value-from-the-environment")
		}
		for _, s := range settings(t, page) {
			shown++
			if page == commonPage { // the providers are on the other pages
				t.Setenv("KEYCLOAK_CLIENT_SECRET", "a-value-from-the-environment")
				s.providers = settings(t, tenantPages+"keycloak.md")[0].providers
			}
			dir := t.TempDir()
			s.write(t, dir, func(text string) string { return text })
			if out, stderr, err := stage.Run(t, dir, "validate"); err != nil || !strings.Contains(out, "athd.yaml: ok: ") {
				t.Errorf("%s shows a configuration that athd does not take: %v\n%s%s%v %v", page, err, out, stderr, s.athd, s.providers)
			}
		}
	}
	if shown < 12 {
		t.Errorf("only %d configurations were found", shown)
	}
}

// What any-provider.md quotes is what athd says.
func TestStrictScopesAreTold(t *testing.T) {
	const page = "docs/guides/any-provider.md"
	for _, m := range variable.FindAllStringSubmatch(read(t, page), -1) {
		t.Setenv(m[1], "a-value-from-the-environment")
	}
	all := settings(t, page)
	s := all[len(all)-1]
	delete(s.providers["tracker"].(object), "scope_rules")
	dir := t.TempDir()
	s.write(t, dir, func(text string) string { return text })
	_, stderr, err := stage.Run(t, dir, "validate")
	_, fault, found := strings.Cut(stderr, ": scope_rules: ")
	if err == nil || !found || !strings.Contains(read(t, page), ": scope_rules: "+strings.TrimSpace(fault)) {
		t.Errorf("%s does not quote what athd says: %v\n%s", page, err, stderr)
	}
}

package exchange

import (
	"strings"
	"testing"

	"github.com/athd/athd/envoy"
)

func TestNamesThatIdentify(t *testing.T) {
	for _, name := range identifying() {
		for _, spelt := range []string{name, strings.ToUpper(name), strings.ReplaceAll(name, "-", "_")} {
			if !identifies([]byte(spelt)) || !Wanted([]byte(spelt)) {
				t.Errorf("%s is not known", spelt)
			}
		}
	}
	for _, name := range []string{"", "x", "x-forwarded-for", "x-use", "x-userx", "x-forwarded-users", "xremote-user", "remote", "x\xdfuser"} {
		if identifies([]byte(name)) {
			t.Errorf("%q is taken for one", name)
		}
	}
}

// identifying has a name for each entry of envoy's tables.
func identifying() []string {
	names := append([]string{"x-goog-iap-jwt-assertion", "cf-access-jwt-assertion"}, envoy.IdentityHeaders[:]...)
	for _, p := range envoy.IdentityPrefixes {
		names = append(names, p+"user")
	}
	return names
}

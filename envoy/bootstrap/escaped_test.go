package bootstrap_test

import (
	"testing"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/test/harness/envoyconfig"
	"github.com/athd/athd/test/harness/realenvoy"
)

// Envoy lets %2F and %5C through only where a provider needs %2F, and then
// keeps them from the companion's paths.
func TestEscapedSlashesAreKeptWhereAProviderNeedsThem(t *testing.T) {
	forge := envoyconfig.GatewayProvider(t, "forge", "http://127.0.0.1:9999/api")
	config := bootstrap.Config{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Authz: []string{"unix:/run/athd/authz.sock"}, Companion: []string{"127.0.0.1:9000"},
		PublicURL: "http://localhost:8080", Providers: envoyconfig.Set(t, forge, envoyconfig.AppProvider(t, "app", "http://127.0.0.1:9998", "")),
	}
	first := func() (hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction, string) {
		m := envoyconfig.Manager(t, envoyconfig.Parse(t, envoyconfig.Generate(t, config)))
		return m.PathWithEscapedSlashesAction, m.GetRouteConfig().VirtualHosts[0].Routes[0].Name
	}
	if action, route := first(); action != hcmv3.HttpConnectionManager_REJECT_REQUEST || route != "companion" {
		t.Errorf("nobody needs them: %s, and the first route is %s", action, route)
	}
	forge.EncodedSlash = true
	if action, route := first(); action != hcmv3.HttpConnectionManager_KEEP_UNCHANGED || route != "companion_escaped" {
		t.Errorf("the forge needs them: %s, and the first route is %s", action, route)
	}
	realenvoy.Validate(t, envoyconfig.Generate(t, config))
}

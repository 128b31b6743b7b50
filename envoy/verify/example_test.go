package verify_test

import (
	"fmt"
	"net/url"

	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/provider"
)

// The dump is what Envoy's admin page /config_dump?include_eds says. In this one a
// route leads to a provider and nobody asks athd.
func ExampleVerify() {
	base, _ := url.Parse("https://api.github.com")
	providers, err := provider.NewSet(&provider.Provider{ID: "github", APIBase: base})
	if err != nil {
		fmt.Println(err)
		return
	}
	dump := []byte(`{"configs": [
		{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "static_listeners": [{"listener": {"name": "public", "filter_chains": [{"filters": [{
			"name": "envoy.filters.network.http_connection_manager",
			"typed_config": {
				"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
				"http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
				"route_config": {"name": "public", "virtual_hosts": [{"name": "any", "domains": ["*"], "routes": [
					{"name": "proxy_github", "match": {"prefix": "/ath/proxy/github/"}, "route": {"cluster": "provider_github"}}]}]}}}]}]}}]},
		{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters": [{"cluster": {"name": "provider_github"}}]}]}`)
	v, err := verify.Verify(dump, verify.Expectation{Providers: providers, Authz: []string{"unix:/run/athd/authz.sock"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range v.Findings {
		if f.Severity == verify.Fault {
			fmt.Println(f.What)
		}
	}
	// Output:
	// it does not speak TLS to "api.github.com", as far as can be read: the user's token travels in plaintext
	// ext_authz is missing: athd is not asked
	// headers with underscores pass: many servers read x_ath_agent_id as x-ath-agent-id
	// paths are not normalized: /a/../b is routed as it is written
	// the API is called by the gateway's host, not by its own, "api.github.com"
	// the prefix "/ath/proxy/github/" is rewritten to "", not "/": the API gets another path than was judged
}

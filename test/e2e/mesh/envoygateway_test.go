package mesh

import (
	"net/http"
	"strings"
	"testing"
)

// gatewayFilters are what Envoy Gateway writes for the SecurityPolicies of
// deploy/envoy-gateway: a filter for each, disabled but on the routes that it
// is for.
const gatewayFilters = `
- name: envoy.filters.http.ext_authz/securitypolicy/athd/agents
  disabled: true
  typed_config: &check
    '@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
    transport_api_version: V3
    grpc_service: {envoy_grpc: {cluster_name: securitypolicy/athd/agents/extauth/0, authority: 'athd.athd.svc.cluster.local:9001'}, timeout: 0.5s}
    status_on_error: {code: 503}
    TOLD
- {name: envoy.filters.http.ext_authz/securitypolicy/athd/proxy-gallery, disabled: true, typed_config: *check}
- {name: envoy.filters.http.ext_authz/securitypolicy/athd/app-shop, disabled: true, typed_config: *check}
GUARD
`

// gatewayRoutes are what it writes for the HTTPRoutes. EXTENSIONS is what the
// routes' own policies tell athd.
const gatewayRoutes = `
name: athd/agents/https
ignore_port_in_host_matching: true
virtual_hosts:
- name: athd/agents/https/agents_example_com
  domains: ['*']
  routes:
  - match: &exact {path: /.well-known/ath.json}
    route: &handshake {cluster: athd_companion, timeout: 30s, upgrade_configs: [{upgrade_type: websocket}]}
    typed_per_filter_config: &gateway
      envoy.filters.http.ext_authz/securitypolicy/athd/agents: {'@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, check_settings: {}}
  - {match: {path: /.well-known/ath-app.json}, route: *handshake, typed_per_filter_config: *gateway}
  - {match: {path: /ath/authorize}, route: *handshake, typed_per_filter_config: *gateway}
  - {match: {path: /ath/callback}, route: *handshake, typed_per_filter_config: *gateway}
  - {match: {path: /ath/token}, route: *handshake, typed_per_filter_config: *gateway}
  - {match: {path: /ath/revoke}, route: *handshake, typed_per_filter_config: *gateway}
  - match: {path_separated_prefix: /ath/proxy/gallery}
    route: {cluster: provider_gallery, timeout: 0s, prefix_rewrite: /v1, host_rewrite_literal: API_HOST, append_x_forwarded_host: true}
    request_headers_to_remove: [cookie, via, x-forwarded-for, x-forwarded-proto, x-request-id, x-envoy-external-address]
    typed_per_filter_config: GALLERY
  - {match: {path_separated_prefix: /ath/consent}, route: *handshake, typed_per_filter_config: *gateway}
  - {match: {path_separated_prefix: /ath/agents}, route: *handshake, typed_per_filter_config: *gateway}
  - {match: {path_separated_prefix: /ath/admin}, route: *handshake, typed_per_filter_config: *gateway}
  - {match: {path_separated_prefix: /ath}, direct_response: {status: 404}, typed_per_filter_config: *gateway}
  - match: {prefix: /}
    route: {cluster: provider_shop, timeout: 0s, upgrade_configs: [{upgrade_type: websocket}]}
    typed_per_filter_config: SHOP
`

const gatewayManager = `
stat_prefix: https-10443
common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}
merge_slashes: true
normalize_path: true
path_with_escaped_slashes_action: KEEP_UNCHANGED
server_header_transformation: PASS_THROUGH
use_remote_address: true
early_header_mutation_extensions:
- name: envoy.http.early_header_mutation.header_mutation
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
    mutations: [{remove: x-forwarded-for}, {remove: x-forwarded-host}, {remove: forwarded}]
`

// gateway is an Envoy with Envoy Gateway's blocks. told is more of the filter;
// named says whether routes tell athd their provider; guard is what guard.yaml
// puts behind it, or nothing.
func gateway(told string, named bool, guard string) func(*testing.T, string, []byte) []byte {
	const here = `{'@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, check_settings: {context_extensions: `
	gallery, shop := "*gateway", "*gateway"
	if named {
		gallery = "{envoy.filters.http.ext_authz/securitypolicy/athd/proxy-gallery: " + here + "{ath_provider: gallery, ath_mount: /ath/proxy/gallery/}}}}"
		shop = "{envoy.filters.http.ext_authz/securitypolicy/athd/app-shop: " + here + "{ath_provider: shop}}}}"
	}
	return func(t *testing.T, listen string, clusters []byte) []byte {
		t.Helper()
		manager := managerOf(t, gatewayManager, strings.NewReplacer("TOLD", told, "GUARD", guard+routerFilter).Replace(gatewayFilters),
			strings.NewReplacer("GALLERY", gallery, "SHOP", shop).Replace(gatewayRoutes))
		return bootstrap(t, listen, manager, clusters, "securitypolicy/athd/agents/extauth/0")
	}
}

// proves: M-1, P-1, P-2, P-3, P-4, P-5, P-7, P-9, V-1
func TestEnvoyGateway(t *testing.T) {
	// What headersToExtAuth makes: a list of names, each to be matched whole,
	// without the pseudo headers.
	const list = "allowed_headers: {patterns: [{exact: authorization, ignore_case: true}, {exact: x-ath-agent-id, ignore_case: true}, " +
		"{exact: x-ath-user-token, ignore_case: true}, {exact: x-ath-other, ignore_case: true}, {exact: cookie, ignore_case: true}, {exact: x-http-method-override, ignore_case: true}]}"
	for _, m := range []mesh{
		{name: "one policy for the Gateway", config: gateway("", false, "")},
		{name: "routes that name their provider", config: gateway("", true, "")},
		{name: "headersToExtAuth", lists: true, config: gateway(list, false, "")},
		{name: "headersToExtAuth and routes that name their provider", lists: true, config: gateway(list, true, "")},
		{name: "raw headers, the guard", raw: true, config: gateway("encode_raw_headers: true", true, guardFilters)},
	} {
		m.merges, m.away = true, http.StatusServiceUnavailable
		t.Run(m.name, m.works)
	}
}

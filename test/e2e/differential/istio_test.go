package differential

import (
	"fmt"
	"net"
	"strings"
)

// istioConfig is an Envoy as Istio configures one by default: the check says
// no mount and no provider, tells headers joined and not raw, waits ten
// minutes, and runs before the routes rewrite; slashes are neither merged nor
// decoded (path normalization BASE). There is no guard and no hygiene. The
// handshake's paths lead to athd as deploy/istio/gateway.yaml has it, so that
// what athd lets pass there, and what leads there, are held against each other.
func istioConfig(w *world, socket, caFile string) []byte {
	var handshake, hosts strings.Builder
	for _, match := range []string{"path: /.well-known/ath.json", "path: /.well-known/ath-app.json", "path: /ath/authorize", "path: /ath/callback",
		"path: /ath/token", "path: /ath/revoke", "prefix: /ath/agents/", "prefix: /ath/consent/", "prefix: /ath/admin/"} {
		fmt.Fprintf(&handshake, "\n              - {match: {%s}, route: {cluster: companion}}", match)
	}
	for _, host := range []string{"shop.example", "based.example", "*"} {
		fmt.Fprintf(&hosts, "\n            - name: %q\n              domains: [%q]\n              routes:%s", host, host, &handshake)
		for _, d := range doors {
			cluster := "h1"
			if d.provider == "wide" {
				cluster = "h2"
			}
			match := d.prefix
			switch {
			case d.mount != "/": // gateway mode, on every host
			case d.host != host && (d.provider != "app" || host != "*"):
				continue
			case d.provider == "shop":
				match = "/shop" // as people write it: also /shopping
			}
			rewrite := ""
			if to := d.base + strings.TrimPrefix(match, d.mount); to != match {
				rewrite = fmt.Sprintf(", prefix_rewrite: %q", to)
			}
			fmt.Fprintf(&hosts, "\n              - {match: {prefix: %q}, route: {cluster: %s%s}}", match, cluster, rewrite)
		}
	}
	cluster := func(name, addr string) string {
		host, port, _ := net.SplitHostPort(addr)
		return fmt.Sprintf(`
  - name: %s
    load_assignment:
      cluster_name: %s
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]`, name, name, host, port)
	}
	const h2 = `
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}`
	return []byte(`admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: public
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: istio
          normalize_path: true
          merge_slashes: false
          path_with_escaped_slashes_action: KEEP_UNCHANGED
          use_remote_address: true
          delayed_close_timeout: 0.01s # not Istio's, which is a second: to be quick
          http_filters:
          - name: envoy.filters.http.ext_authz
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              transport_api_version: V3
              grpc_service: {envoy_grpc: {cluster_name: athd}, timeout: 600s}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            ignore_port_in_host_matching: true
            virtual_hosts:` + hosts.String() + `
  clusters:
  - name: athd
    load_assignment:
      cluster_name: athd
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: ` + socket + `}}}}]}]` + h2 +
		cluster("companion", w.companion.addr) + cluster("h1", w.h1.addr) + cluster("h2", w.h2.addr) + h2 + `
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {alpn_protocols: [h2], validation_context: {trusted_ca: {filename: ` + caFile + `}}}
`)
}

package mesh

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/tree"
)

const athdService = "outbound|9001||athd.athd.svc.cluster.local"

// istioFilters are what Istio writes for an AuthorizationPolicy with action
// CUSTOM and a rule that matches everything: a shadow RBAC filter that marks
// requests, and ext_authz for those that are marked.
const istioFilters = `
- name: envoy.filters.http.rbac
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    shadow_rules_stat_prefix: istio_ext_authz_
    shadow_rules:
      action: DENY
      policies:
        istio-ext-authz-ns[istio-ingress]-policy[athd]-rule[0]:
          permissions: [{and_rules: {rules: [{any: true}]}}]
          principals: [{and_ids: {ids: [{any: true}]}}]
- name: envoy.filters.http.ext_authz
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
    transport_api_version: V3
    filter_enabled_metadata:
      filter: envoy.filters.http.rbac
      path: [{key: istio_ext_authz_shadow_effective_policy_id}]
      value: {string_match: {prefix: istio-ext-authz}}
    grpc_service:
      envoy_grpc: {cluster_name: outbound|9001||athd.athd.svc.cluster.local, authority: athd.athd.svc.cluster.local}
      timeout: TIMEOUT
- name: envoy.filters.http.cors
  typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}
- name: envoy.filters.http.fault
  typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}
- name: envoy.filters.http.router
  typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
`

// istioRoutes are what it writes for the VirtualService of deploy/istio.
const istioRoutes = `
name: http.8080
ignore_port_in_host_matching: true
virtual_hosts:
- name: '*:8080'
  domains: ['*']
  routes:
  - {match: {path: /.well-known/ath.json}, route: &handshake {cluster: athd_companion, timeout: 30s}}
  - {match: {path: /.well-known/ath-app.json}, route: *handshake}
  - {match: {path: /ath/authorize}, route: *handshake}
  - {match: {path: /ath/callback}, route: *handshake}
  - {match: {path: /ath/token}, route: *handshake}
  - {match: {path: /ath/revoke}, route: *handshake}
  - {match: {prefix: /ath/agents/}, route: *handshake}
  - {match: {prefix: /ath/consent/}, route: *handshake}
  - {match: {prefix: /ath/admin/}, route: *handshake}
  - match: {prefix: /ath/proxy/gallery/}
    route: {cluster: provider_gallery, timeout: 0s, prefix_rewrite: /v1/, host_rewrite_literal: API_HOST}
    request_headers_to_remove: [cookie, x-forwarded-for, x-forwarded-proto, x-request-id, x-envoy-external-address]
  - {match: {prefix: /ath/}, direct_response: {status: 404}}
  - {match: {prefix: /}, route: {cluster: provider_shop, timeout: 0s}}
`

// istioManager has Istio's own settings of the connection manager. BASE is its
// default path normalization.
const istioManager = `
stat_prefix: outbound_0.0.0.0_8080
use_remote_address: true
forward_client_cert_details: SANITIZE_SET
normalize_path: true
path_with_escaped_slashes_action: KEEP_UNCHANGED
`

// istio is an Envoy with Istio's blocks; edit changes them, and the clusters, as an
// EnvoyFilter or the mesh's configuration does.
func istio(timeout string, edit func(t *testing.T, manager, clusters object)) func(*testing.T, string, []byte) []byte {
	return func(t *testing.T, listen string, clusters []byte) []byte {
		t.Helper()
		manager := managerOf(t, istioManager, strings.ReplaceAll(istioFilters, "TIMEOUT", timeout), istioRoutes)
		resources := tree.Load(t, clusters)
		edit(t, manager, resources)
		return bootstrap(t, listen, manager, dump(t, resources), athdService)
	}
}

// istioAsItComes: no field of the provider is set but its service.
func istioAsItComes() mesh {
	return mesh{
		name: "Istio as it comes", away: http.StatusForbidden,
		config: istio("600s", func(*testing.T, object, object) {}),
	}
}

// istioWithoutFilters has all that deploy/istio says but filters.yaml, as a
// waypoint has.
func istioWithoutFilters() mesh {
	return mesh{
		name: "Istio without EnvoyFilter", merges: true, away: http.StatusServiceUnavailable,
		config: istio("0.5s", meshConfig),
	}
}

// istioAsWeWant has filters.yaml, too.
func istioAsWeWant() mesh {
	return mesh{
		name: "Istio with deploy/istio", raw: true, merges: true, clears: true, away: http.StatusServiceUnavailable,
		config: istio("0.5s", func(t *testing.T, manager, clusters object) {
			meshConfig(t, manager, clusters)
			for _, d := range documents(t, "../../../deploy/istio/filters.yaml") {
				applyEnvoyFilter(t, d, manager, clusters)
			}
		}),
	}
}

// meshConfig is what deploy/istio/mesh-config.yaml makes of these blocks.
func meshConfig(_ *testing.T, manager, _ object) {
	manager["merge_slashes"] = true // MERGE_SLASHES
	for _, f := range manager["http_filters"].([]any) {
		if f := f.(object); f["name"] == "envoy.filters.http.ext_authz" {
			f["typed_config"].(object)["status_on_error"] = object{"code": 503}
		}
	}
}

// applyEnvoyFilter does to chain and clusters what Istio does with the two
// operations that filters.yaml has.
func applyEnvoyFilter(t *testing.T, document, manager, clusters object) {
	t.Helper()
	for _, p := range document["spec"].(object)["configPatches"].([]any) {
		if at(p, "applyTo") == "CLUSTER" {
			service, _ := at(p, "match", "cluster", "service").(string)
			name := stands(t, "outbound|443||"+strings.Replace(service, "shop.shop.", "|3000||shop.", 1))
			for _, c := range listOf(clusters["clusters"]) {
				if at(c, "name") == name {
					maps.Copy(c.(object), at(p, "patch", "value").(object)) // Istio has written none of this
				}
			}
			continue
		}
		match := p.(object)["match"].(object)["listener"].(object)["filterChain"].(object)["filter"].(object)
		patch := p.(object)["patch"].(object)
		chain := manager["http_filters"].([]any)
		at := slices.IndexFunc(chain, func(f any) bool {
			return f.(object)["name"] == match["subFilter"].(object)["name"]
		})
		if at < 0 {
			t.Fatalf("there is no filter %v", match)
		}
		switch value := patch["value"].(object); patch["operation"] {
		case "MERGE":
			merge(chain[at].(object), value)
		case "INSERT_BEFORE":
			manager["http_filters"] = slices.Insert(chain, at, any(value))
		default:
			t.Fatalf("no such operation here: %v", patch["operation"])
		}
	}
}

func merge(into, from object) {
	for key, value := range from {
		inner, both := value.(object)
		if outer, ok := into[key].(object); ok && both {
			merge(outer, inner)
			continue
		}
		into[key] = value
	}
}

// proves: M-1, P-1, P-2, P-3, P-4, P-5, P-7, P-9, V-1
func TestIstioFilesHoldInEnvoy(t *testing.T) {
	for _, m := range []mesh{istioAsItComes(), istioWithoutFilters(), istioAsWeWant()} {
		t.Run(m.name, m.works)
	}
}

//go:build generators

package mesh

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	_ "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/test/harness/tree"
)

const judgeName = "envoy.filters.http.ext_proc/envoyextensionpolicy/athd/agents/extproc/0"

// What Envoy Gateway makes of the folder ext-proc is what the tests by hand have:
// the same filters in the same order on both hosts, and the judge on every route.
// It passes the whole walk.
func TestEnvoyGatewayJudgeGenerated(t *testing.T) {
	all := xdsOf(t, translate(t, "xds", byExtProc))
	clustersAuthenticate(t, all.clusters, "envoyextensionpolicy/athd/agents/extproc/0")
	if n := at(all.clusters["envoyextensionpolicy/athd/agents/extproc/0"], "circuitBreakers", "thresholds", 0, "maxRequests"); n != 16384 {
		t.Errorf("%v requests may be judged at once", n)
	}
	want := filtersOf(t, listOf(tree.Load(t, []byte("filters:"+judgeFilter+judgePatch+guardFilters+routerFilter))["filters"]))
	chains := listOf(all.listener["filterChains"])
	if len(chains) != 2 {
		t.Fatalf("%d filter chains", len(chains))
	}
	for _, chain := range chains {
		made := filtersOf(t, listOf(at(chain, "filters", 0, "typedConfig", "httpFilters")))
		if !slices.EqualFunc(made, want, func(a, b *managerv3.HttpFilter) bool { return proto.Equal(a, b) }) {
			t.Errorf("%v has the filters %v, and by hand they are %v", at(chain, "name"), made, want)
		}
	}
	routes := 0
	for _, host := range listOf(all.routes["virtualHosts"]) {
		for _, r := range listOf(at(host, "routes")) {
			routes++
			if at(r, "typedPerFilterConfig", judgeName) == nil {
				t.Errorf("route %v is not judged", at(r, "name"))
			}
		}
	}
	if routes < 15 {
		t.Errorf("only %d routes", routes)
	}
	m := mesh{
		name: "what Envoy Gateway makes", judges: true, raw: true, merges: true, clears: true, away: http.StatusServiceUnavailable,
		config: all.config, consentHost: consentHost,
	}
	t.Run("verify-envoy", m.hasNoFault)
	m.works(t)
}

// filtersOf reads filters as Envoy does.
func filtersOf(t *testing.T, list []any) []*managerv3.HttpFilter {
	t.Helper()
	var all []*managerv3.HttpFilter
	for _, f := range list {
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		filter := &managerv3.HttpFilter{}
		if err := protojson.Unmarshal(text, filter); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		all = append(all, filter)
	}
	return all
}

// A policy of somebody's own on one route stands in the place of the Gateway's:
// the route is not judged, and only the guard is there.
func TestEnvoyGatewayAnotherPolicyTakesTheJudgeAway(t *testing.T) {
	for name, tt := range map[string]struct {
		files  []string
		policy string
		filter string
	}{
		"ext_proc": {byExtProc, `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: mine, namespace: athd}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: handshake}]
  lua: [{type: Inline, inline: "function envoy_on_response(handle) end"}]
`, judgeName},
		"ext_authz": {byExtAuthz, `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: mine, namespace: athd}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: handshake}]
  cors: {allowOrigins: ["https://agent.example.com"]}
`, "envoy.filters.http.ext_authz/"},
	} {
		t.Run(name, func(t *testing.T) {
			all := xdsOf(t, translate(t, "xds", tt.files, tt.policy))
			unjudged := 0
			for _, host := range listOf(all.routes["virtualHosts"]) {
				for _, r := range listOf(at(host, "routes")) {
					filters, _ := at(r, "typedPerFilterConfig").(object)
					judged := false
					for f := range filters {
						judged = judged || strings.HasPrefix(f, tt.filter)
					}
					if !judged {
						unjudged++
						if route, _ := at(r, "name").(string); !strings.Contains(route, "/handshake/") {
							t.Errorf("route %s is not judged", route)
						}
					}
				}
			}
			if unjudged == 0 {
				t.Error("the route is judged: say so in docs/envoy-gateway.md")
			}
			for _, chain := range listOf(all.listener["filterChains"]) {
				if list := listOf(at(chain, "filters", 0, "typedConfig", "httpFilters")); !slices.ContainsFunc(list, func(f any) bool { return at(f, "name") == "athd.guard" }) {
					t.Errorf("%v has no guard", at(chain, "name"))
				}
			}
		})
	}
}

// A policy with a fault lets nothing pass, unless failOpen says so.
func TestEnvoyGatewayJudgeWithAFault(t *testing.T) {
	for _, open := range []bool{false, true} {
		files := slices.DeleteFunc(slices.Clone(byExtProc), func(f string) bool { return f == "ext-proc/judge.yaml" })
		policy := `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: agents, namespace: athd}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: agents}]
  extProc: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: nobody, port: 9001}], processingMode: {request: {}}, failOpen: false}]
`
		if open {
			policy = strings.Replace(policy, "failOpen: false", "failOpen: true", 1)
		}
		all := xdsOf(t, translate(t, "xds", files, policy))
		for _, host := range listOf(all.routes["virtualHosts"]) {
			for _, r := range listOf(at(host, "routes")) {
				if leads := at(r, "route") != nil; leads && !open {
					t.Errorf("route %v leads on though its policy has a fault: %v", at(r, "name"), r)
				} else if open && at(r, "typedPerFilterConfig", judgeName) != nil {
					t.Errorf("failOpen: route %v is judged", at(r, "name"))
				}
			}
		}
	}
}

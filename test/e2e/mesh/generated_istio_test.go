//go:build generators

package mesh

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/tree"
)

// A proxy is an Envoy of the mesh, as istiod knows it.
type proxy struct{ kind, namespace, labels, address string }

var (
	ingress  = proxy{"router", "istio-ingress", "istio=ingress", "10.0.0.1"}
	sidecar  = proxy{"sidecar", "shop", "app=shop", "10.0.0.3"}
	waypoint = proxy{"waypoint", "shop", "gateway.networking.k8s.io/gateway-name=agents,gateway.istio.io/managed=istio.io-mesh-controller", "10.0.0.4"}
)

// cluster is what the files of deploy/istio want to be there, with what
// Kubernetes itself would fill in.
const cluster = `
apiVersion: v1
kind: Namespace
metadata: {name: istio-ingress, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingress, namespace: istio-ingress}
spec: {selector: {istio: ingress}, ports: [{name: https, port: 443, targetPort: 443, protocol: TCP}]}
---
apiVersion: v1
kind: Pod
metadata: {name: ingress, namespace: istio-ingress, labels: {istio: ingress}}
spec: {serviceAccountName: istio-ingress, containers: [{name: istio-proxy, image: proxyv2}]}
status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: istio-ingress-1, namespace: istio-ingress, labels: {kubernetes.io/service-name: istio-ingress}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: ingress, namespace: istio-ingress}}]
ports: [{name: https, port: 443, protocol: TCP}]
---
apiVersion: v1
kind: Pod
metadata: {name: athd, namespace: athd, labels: {app.kubernetes.io/name: athd, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: athd, containers: [{name: istio-proxy, image: proxyv2}, {name: athd, ports: [{name: grpc, containerPort: 9001}, {name: http, containerPort: 9000}]}]}
status: {phase: Running, podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.2}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: athd-1, namespace: athd, labels: {kubernetes.io/service-name: athd}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.2], conditions: {ready: true}, targetRef: {kind: Pod, name: athd, namespace: athd}}]
ports: [{name: grpc, port: 9001, protocol: TCP}, {name: http, port: 9000, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: athd-streams-1, namespace: athd, labels: {kubernetes.io/service-name: athd-streams}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.2], conditions: {ready: true}, targetRef: {kind: Pod, name: athd, namespace: athd}}]
ports: [{name: grpc, port: 9001, protocol: TCP}]
---
apiVersion: v1
kind: Pod
metadata: {name: shop, namespace: shop, labels: {app: shop, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: shop, containers: [{name: istio-proxy, image: proxyv2}, {name: shop, ports: [{containerPort: 3000}]}]}
status: {phase: Running, podIP: 10.0.0.3, podIPs: [{ip: 10.0.0.3}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, namespace: shop, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.3], conditions: {ready: true}, targetRef: {kind: Pod, name: shop, namespace: shop}}]
ports: [{name: http, port: 3000, protocol: TCP}]
`

// shop is the API's Service, where ambient.yaml does not have it.
const shop = `
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 3000, targetPort: 3000}]}
`

// agents is what Istio makes for the Gateway of ambient.yaml.
const agents = `
apiVersion: v1
kind: Service
metadata:
  name: agents
  namespace: shop
  labels: {gateway.istio.io/managed: istio.io-mesh-controller, gateway.networking.k8s.io/gateway-name: agents}
spec: {clusterIP: 10.1.0.4, selector: {gateway.networking.k8s.io/gateway-name: agents}, ports: [{name: mesh, port: 15008, targetPort: 15008, appProtocol: hbone}]}
---
apiVersion: v1
kind: Pod
metadata: {name: agents, namespace: shop, labels: {gateway.istio.io/managed: istio.io-mesh-controller, gateway.networking.k8s.io/gateway-name: agents}}
spec: {serviceAccountName: agents, containers: [{name: istio-proxy, image: proxyv2}]}
status: {phase: Running, podIP: 10.0.0.4, podIPs: [{ip: 10.0.0.4}], conditions: [{type: Ready, status: "True"}]}
`

// istioFiles reads files of deploy/istio.
func istioFiles(t *testing.T, names ...string) [][]byte {
	t.Helper()
	var all [][]byte
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("../../../deploy/istio", name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	return all
}

// istioInput adds to them the cluster, athd's own namespace and Service, and
// more.
func istioInput(t *testing.T, files [][]byte, more ...string) []byte {
	t.Helper()
	service := documents(t, "../../../deploy/kubernetes/base/service.yaml")[0]
	service["metadata"].(object)["namespace"] = "athd" // as kustomize does
	namespace := documents(t, "../../../deploy/kubernetes/overlays/istio/namespace.yaml")[0]
	certificate := tlsSecret(t, realenvoy.NewAuthority(t), "istio-ingress", "agents-example-com")
	all := append(slices.Clone(files), dump(t, namespace), dump(t, service), certificate, []byte(cluster))
	for _, text := range more {
		all = append(all, []byte(text))
	}
	return bytes.Join(all, []byte("\n---\n"))
}

// forSidecar is filters.yaml as its head says to change it.
func forSidecar(t *testing.T) []byte {
	t.Helper()
	return []byte(strings.NewReplacer("context: GATEWAY", "context: SIDECAR_INBOUND", "namespace: istio-ingress", "namespace: shop", "istio: ingress", "app: shop").
		Replace(string(istioFiles(t, "filters.yaml")[0])))
}

// Istio's validation takes each file, and its analyzers find nothing in what
// belongs together but what they say of any EnvoyFilter like ours.
func TestIstioAcceptsTheFiles(t *testing.T) {
	files, err := filepath.Glob("../../../deploy/istio/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			generator(t, "ATHD_ISTIOCTL", istioFiles(t, filepath.Base(file))[0], "validate", "-f", "FILE")
		})
	}
	for name, in := range map[string][]byte{
		"gateway": istioInput(t, istioFiles(t, "mesh-config.yaml", "athd.yaml", "gateway.yaml", "filters.yaml", "streams.yaml"), shop),
		"sidecar": istioInput(t, append(istioFiles(t, "mesh-config.yaml", "athd.yaml", "gateway.yaml", "sidecar.yaml"), forSidecar(t)), shop),
		"ambient": istioInput(t, istioFiles(t, "mesh-config.yaml", "athd.yaml", "ambient.yaml"), agents),
	} {
		t.Run(name, func(t *testing.T) {
			for _, m := range listOf(istiod(t, in, ingress, name == "ambient")["messages"]) {
				switch at(m, "code") {
				case "IST0133": // it is one
				default:
					t.Errorf("%v: %v: %v", at(m, "origin"), at(m, "code"), at(m, "message"))
				}
			}
		})
	}
}

// istiod has Istio's control plane say what it sends to a proxy, with ambient
// mode or, as Istio comes, without.
func istiod(t *testing.T, in []byte, p proxy, ambient bool) object {
	t.Helper()
	t.Setenv("PILOT_ENABLE_AMBIENT", strconv.FormatBool(ambient))
	return tree.Load(t, generator(t, "ATHD_ISTIO", in, "-f", "FILE", "-version", "1.31.0",
		"-type", p.kind, "-namespace", p.namespace, "-labels", p.labels, "-address", p.address))
}

// What Istio makes of deploy/istio passes the whole walk, with filters.yaml and
// without. Listener, filters, routes and clusters are as they come, but for the
// names of hosts, the addresses of clusters, TLS, and filters that only Istio's
// own build of Envoy has.
func TestIstioGenerated(t *testing.T) {
	files := []string{"mesh-config.yaml", "athd.yaml", "gateway.yaml"}
	for _, tt := range []struct {
		name    string
		files   []string
		raw     bool
		ambient bool
	}{
		{"without EnvoyFilter", files, false, false},
		{"all files", append(files, "filters.yaml"), true, false},
		{"all files, ambient mode", append(files, "filters.yaml"), true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := istioXDS(t, istiod(t, istioInput(t, istioFiles(t, tt.files...), shop), ingress, tt.ambient))
			m := mesh{name: tt.name, raw: tt.raw, merges: true, clears: tt.raw, away: http.StatusServiceUnavailable, config: all.config, consentHost: consentHost}
			t.Run("clusters", func(t *testing.T) { verifiedByIstio(t, all.clusters) })
			t.Run("the check", func(t *testing.T) { checked(t, all.listener, tt.raw, 1) })
			t.Run("verify-envoy", m.hasNoFault)
			m.works(t)
		})
	}
}

// With streams.yaml streams end.
func TestIstioGeneratedStreams(t *testing.T) {
	files := istioFiles(t, "mesh-config.yaml", "athd.yaml", "gateway.yaml", "filters.yaml", "streams.yaml")
	all := istioXDS(t, istiod(t, istioInput(t, files, shop), ingress, false))
	if len(all.clusters) != 5 {
		t.Fatalf("%d clusters are used", len(all.clusters))
	}
	mesh{name: "Istio", config: all.config, consentHost: consentHost}.watches(t)
}

// The same check stands at a sidecar and at a waypoint, on whatever is HTTP.
func TestIstioGeneratedElsewhere(t *testing.T) {
	t.Run("sidecar", func(t *testing.T) {
		files := append(istioFiles(t, "mesh-config.yaml", "athd.yaml", "sidecar.yaml"), forSidecar(t))
		listener := listenerOf(t, istiod(t, istioInput(t, files, shop), sidecar, false), "virtualInbound")
		checked(t, listener, true, 2) // the API's port, and any other
		closed(t, listener, 2)
		for _, chain := range listOf(listener["filterChains"]) {
			if at(chain, "filterChainMatch", "transportProtocol") != "tls" && at(chain, "name") != "virtualInbound-blackhole" {
				t.Errorf("%v takes plaintext: %v", at(chain, "name"), at(chain, "filterChainMatch"))
			}
		}
	})
	t.Run("waypoint", func(t *testing.T) {
		// Which is where Istio has put it.
		ambient := strings.Replace(string(istioFiles(t, "ambient.yaml")[0]), "      protocol: HBONE\n",
			"      protocol: HBONE\nstatus:\n  addresses:\n    - {type: Hostname, value: agents.shop.svc.cluster.local}\n", 1)
		files := append(istioFiles(t, "mesh-config.yaml", "athd.yaml"), []byte(ambient))
		listener := listenerOf(t, istiod(t, istioInput(t, files, agents), waypoint, true), "main_internal")
		// Nothing but this chain is for an address that the waypoint knows.
		service := "inbound-vip|3000|http|shop.shop.svc.cluster.local"
		if text := string(dump(t, listener["filterChainMatcher"])); !strings.Contains(text, "value: "+service) || strings.Contains(text, "direct-") {
			t.Errorf("the waypoint leads to other chains than %s: %s", service, text)
		}
		listener["filterChains"] = slices.DeleteFunc(listOf(listener["filterChains"]), func(c any) bool { return at(c, "name") != service })
		checked(t, listener, false, 1)
		closed(t, listener, 1)
	})
}

// closed: behind the check, each of n connection managers refuses the paths
// that athd lets pass since it answers them itself, which here lead to the API.
func closed(t *testing.T, listener object, n int) {
	t.Helper()
	for _, chain := range listOf(listener["filterChains"]) {
		for _, f := range listOf(at(chain, "filters")) {
			seen := false
			for _, filter := range listOf(at(f, "typedConfig", "httpFilters")) {
				seen = seen || at(filter, "name") == "envoy.filters.http.ext_authz"
				if at(filter, "typedConfig", "rules", "action") != "DENY" || !seen {
					continue
				}
				n--
				text := string(dump(t, at(filter, "typedConfig", "rules").(object)))
				for _, path := range []string{"exact: /.well-known/ath.json", "exact: /.well-known/ath-app.json", "prefix: /ath/"} {
					if !strings.Contains(text, path) {
						t.Errorf("%v: %q is not closed: %s", at(chain, "name"), path, text)
					}
				}
			}
		}
	}
	if n != 0 {
		t.Errorf("%d connection managers do not close athd's own paths", n)
	}
}

// listenerOf returns a listener by its name.
func listenerOf(t *testing.T, out object, name string) object {
	t.Helper()
	for _, l := range listOf(out["listeners"]) {
		if at(l, "name") == name {
			return l.(object)
		}
	}
	t.Fatalf("there is no listener %s", name)
	return nil
}

// checked: in each of n connection managers every request is asked about, and
// with filters.yaml raw, and guarded.
func checked(t *testing.T, listener object, filters bool, n int) {
	t.Helper()
	for _, chain := range listOf(listener["filterChains"]) {
		for _, f := range listOf(at(chain, "filters")) {
			if at(f, "name") != "envoy.filters.network.http_connection_manager" {
				continue
			}
			n--
			list := listOf(at(f, "typedConfig", "httpFilters"))
			find := func(name string) (int, any) {
				i := slices.IndexFunc(list, func(f any) bool { return at(f, "name") == name })
				if i < 0 {
					return i, nil
				}
				return i, at(list[i], "typedConfig")
			}
			marks, rbac := find("envoy.filters.http.rbac")
			asks, check := find("envoy.filters.http.ext_authz")
			guards, _ := find("athd.guard")
			trailers, _ := find("athd.trailers")
			router, _ := find("envoy.filters.http.router")
			if marks < 0 || asks < marks || router != len(list)-1 || filters != (asks < guards && guards < trailers && trailers < router) {
				t.Errorf("%v: the filters are %v", at(chain, "name"), list)
			}
			policies, _ := at(rbac, "shadowRules", "policies").(object)
			mark, _ := at(check, "filterEnabledMetadata", "value", "stringMatch", "prefix").(string)
			if len(policies) != 1 || mark == "" {
				t.Errorf("%v: %d policies, marked %q", at(chain, "name"), len(policies), mark)
			}
			for name, p := range policies {
				if !strings.HasPrefix(name, mark) || at(p, "permissions", 0, "andRules", "rules", 0, "any") != true || at(p, "principals", 0, "andIds", "ids", 0, "any") != true {
					t.Errorf("%v: %s (mark %s) does not match everything: %v", at(chain, "name"), name, mark, p)
				}
			}
			if at(check, "grpcService", "envoyGrpc", "clusterName") != athdService || at(check, "failureModeAllow") == true ||
				at(check, "statusOnError", "code") != "ServiceUnavailable" || (at(check, "encodeRawHeaders") == true) != filters {
				t.Errorf("%v: the check is %v", at(chain, "name"), check)
			}
		}
	}
	if n != 0 {
		t.Errorf("%d connection managers are missing", n)
	}
}

// istioXDS is what is for the stage in what istiod sends.
func istioXDS(t *testing.T, out object) xds {
	t.Helper()
	found := xds{clusters: object{}, cluster: relocated, listener: listenerOf(t, out, "0.0.0.0_443")}
	if routes := listOf(out["routes"]); len(routes) == 1 {
		found.routes = routes[0].(object)
	} else {
		t.Fatalf("%d route configurations", len(routes))
	}
	manager := at(found.listener, "filterChains", 0, "filters", 0, "typedConfig").(object)
	manager["httpFilters"] = slices.DeleteFunc(listOf(manager["httpFilters"]), onlyIstios)
	used := string(dump(t, found.listener)) + string(dump(t, found.routes))
	for _, c := range listOf(out["clusters"]) {
		if name, _ := at(c, "name").(string); strings.Contains(used, name) {
			found.clusters[name] = c
		}
	}
	if len(found.clusters) < 4 {
		t.Fatalf("%d clusters are used", len(found.clusters))
	}
	return found
}

// onlyIstios says that a filter is no part of Envoy itself.
func onlyIstios(filter any) bool {
	name, _ := at(filter, "name").(string)
	return strings.HasPrefix(name, "istio.")
}

// relocated is a cluster of Istio's that leads where own does, with own's TLS.
func relocated(made, own object) object {
	for _, key := range []string{"edsClusterConfig", "loadAssignment", "transportSocket", "transportSocketMatches"} {
		delete(made, key)
	}
	delete(made, "filters") // istio.metadata_exchange
	for _, key := range []string{"dnsRefreshRate", "dnsJitter", "respectDnsTtl", "dnsLookupFamily", "typedDnsResolverConfig"} {
		delete(made, key)
	}
	made["type"] = "STATIC"
	own = renamed(made, own)
	for _, key := range []string{"load_assignment", "transport_socket"} {
		if own[key] != nil {
			made[key] = own[key]
		}
	}
	return made
}

// verifiedByIstio: athd is asked by mutual TLS as its service account, over
// HTTP/2, and the provider by TLS under its own name.
func verifiedByIstio(t *testing.T, clusters object) {
	for name, san := range map[string]string{
		athdService: "spiffe://cluster.local/ns/athd/sa/athd",
		"outbound|9000||athd.athd.svc.cluster.local": "spiffe://cluster.local/ns/athd/sa/athd",
		"outbound|443||api.gallery.example":          "api.gallery.example",
	} {
		tls := at(clusters[name], "transportSocket", "typedConfig")
		if sockets := listOf(at(clusters[name], "transportSocketMatches")); len(sockets) > 0 { // the last is for all but tunnels
			tls = at(sockets[len(sockets)-1], "transportSocket", "typedConfig")
		}
		common := at(tls, "commonTlsContext")
		context := at(common, "combinedValidationContext")
		sans := listOf(at(context, "defaultValidationContext", "matchSubjectAltNames"))
		if len(sans) != 1 || at(sans[0], "exact") != san || at(context, "validationContextSdsSecretConfig") == nil {
			t.Errorf("%s does not verify %s: %v", name, san, tls)
		}
		if mutual := strings.HasPrefix(san, "spiffe:"); mutual != (at(common, "tlsCertificateSdsSecretConfigs", 0, "name") == "default") {
			t.Errorf("%s: client certificate %v", name, at(common, "tlsCertificateSdsSecretConfigs"))
		} else if !mutual && at(tls, "sni") != san {
			t.Errorf("%s: SNI %v", name, at(tls, "sni"))
		}
	}
	if at(clusters[athdService], "typedExtensionProtocolOptions", httpOptions, "explicitHttpConfig", "http2ProtocolOptions") == nil {
		t.Errorf("gRPC does not go by HTTP/2: %v", clusters[athdService])
	}
}

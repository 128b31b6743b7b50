//go:build generators

package mesh

import (
	"bytes"
	"encoding/base64"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/athd/athd/test/realenvoy"
)

// egctl is Envoy Gateway's own translator, which make test-mesh builds.
func egctl(t *testing.T) string {
	t.Helper()
	path := os.Getenv("ATHD_EGCTL")
	if path == "" {
		t.Fatal("ATHD_EGCTL names no egctl: make test-mesh builds one")
	}
	return path
}

// gatewayInput is deploy/envoy-gateway with what it wants to be there.
func gatewayInput(t *testing.T) []byte {
	t.Helper()
	var all [][]byte
	files, err := filepath.Glob("../../deploy/envoy-gateway/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	authority := realenvoy.NewAuthority(t)
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, name := range []string{"agents-example-com", "gateway-client-tls"} {
		certFile, keyFile := authority.Issue("agents.example.com")
		all = append(all, dump(t, object{
			"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": object{"name": name, "namespace": "athd"},
			"data": object{
				"tls.crt": base64.StdEncoding.EncodeToString([]byte(read(certFile))),
				"tls.key": base64.StdEncoding.EncodeToString([]byte(read(keyFile))),
			},
		}))
	}
	all = append(all,
		dump(t, object{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": "athd-ca", "namespace": "athd"},
			"data": object{"ca.crt": read(authority.CAFile)},
		}),
		dump(t, object{
			"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": object{"name": "eg"},
			"spec": object{"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
		}))
	return bytes.Join(all, []byte("\n---\n"))
}

func translate(t *testing.T, to string) object {
	t.Helper()
	program := egctl(t)
	in := filepath.Join(t.TempDir(), "in.yaml")
	if err := os.WriteFile(in, gatewayInput(t), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"x", "translate", "--from", "gateway-api", "--to", to, "-f", in, "-o", "yaml"}
	if to == "xds" {
		args = append(args, "--type", "all")
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("egctl: %v\n%s", err, &stderr)
	}
	return load(t, out)
}

// Envoy Gateway takes all that deploy/envoy-gateway says: no resource has a
// condition that does not hold.
func TestEnvoyGatewayAcceptsTheFiles(t *testing.T) {
	conditions := 0
	var look func(v any, name any)
	look = func(v any, name any) {
		switch v := v.(type) {
		case object:
			if n := at(v, "metadata", "name"); n != nil {
				name = n
			}
			for _, c := range listOf(v["conditions"]) {
				conditions++
				if at(c, "status") != "True" {
					t.Errorf("%v: %v: %v", name, at(c, "type"), at(c, "message"))
				}
			}
			for _, inner := range v {
				look(inner, name)
			}
		case []any:
			for _, inner := range v {
				look(inner, name)
			}
		}
	}
	look(translate(t, "gateway-api"), nil)
	if conditions < 15 {
		t.Errorf("only %d conditions were found", conditions)
	}
}

// What Envoy Gateway makes of deploy/envoy-gateway passes the whole walk. Its
// listener, filters and routes are as they come, but for TLS towards clients
// and the names of hosts; where they lead is a stage's.
func TestEnvoyGatewayGenerated(t *testing.T) {
	all := xdsOf(t, translate(t, "xds"))
	m := mesh{
		name: "what Envoy Gateway makes", raw: true, merges: true, away: http.StatusServiceUnavailable,
		config: all.config,
	}
	t.Run("clusters", func(t *testing.T) { verified(t, all.clusters) })
	t.Run("verify-envoy", m.hasNoFault)
	m.works(t)
}

// xds is what a control plane sends to one Envoy.
type xds struct{ listener, routes, clusters object }

func xdsOf(t *testing.T, out object) xds {
	t.Helper()
	found := xds{clusters: object{}}
	for _, c := range listOf(at(out, "xds", "athd/agents", "configs")) {
		for _, l := range listOf(at(c, "dynamicListeners")) {
			if l := at(l, "activeState", "listener").(object); l["name"] == "athd/agents/https" {
				found.listener = l
			}
		}
		for _, r := range listOf(at(c, "dynamicRouteConfigs")) {
			if r := at(r, "routeConfig").(object); r["name"] == "athd/agents/https" {
				found.routes = r
			}
		}
		for _, c := range listOf(at(c, "dynamicActiveClusters")) {
			name, _ := at(c, "cluster", "name").(string)
			found.clusters[name] = at(c, "cluster")
		}
	}
	if found.listener == nil || found.routes == nil || len(found.clusters) < 5 {
		t.Fatalf("listener %v, routes %v, %d clusters", found.listener != nil, found.routes != nil, len(found.clusters))
	}
	return found
}

// verified: athd is asked by mutual TLS under its own name, and so is the
// provider under its own.
func verified(t *testing.T, clusters object) {
	want := map[string]string{
		"httproute/athd/handshake/rule/0":             "athd.athd.svc.cluster.local",
		"securitypolicy/athd/agents/extauth/0":        "athd.athd.svc.cluster.local",
		"securitypolicy/athd/proxy-gallery/extauth/0": "athd.athd.svc.cluster.local",
		"securitypolicy/athd/app-shop/extauth/0":      "athd.athd.svc.cluster.local",
		"httproute/athd/proxy-gallery/rule/0":         "api.gallery.example",
	}
	for name, host := range want {
		tls := at(clusters[name], "transportSocketMatches", 0, "transportSocket", "typedConfig")
		common := at(tls, "commonTlsContext")
		if at(tls, "sni") != host ||
			at(common, "combinedValidationContext", "defaultValidationContext", "matchTypedSubjectAltNames", 0, "matcher", "exact") != host ||
			at(common, "combinedValidationContext", "validationContextSdsSecretConfig") == nil {
			t.Errorf("%s does not verify %s: %v", name, host, tls)
		}
		if athd := strings.HasPrefix(host, "athd."); athd != (at(common, "tlsCertificateSdsSecretConfigs", 0, "name") == "athd/gateway-client-tls") {
			t.Errorf("%s: client certificate %v", name, at(common, "tlsCertificateSdsSecretConfigs"))
		}
	}
}

// config puts listener and routes on a stage.
func (x xds) config(t *testing.T, listen string, clusters []byte) []byte {
	t.Helper()
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	address := func(host string, port int) object {
		return object{"socket_address": object{"address": host, "port_value": port}}
	}
	chain := at(x.listener, "filterChains", 0).(object)
	manager := at(chain, "filters", 0, "typedConfig").(object)
	for _, o := range []object{x.listener, x.routes} {
		delete(o, "@type")
	}
	for _, key := range []string{"transportSocket", "filterChainMatch"} {
		delete(chain, key)
	}
	delete(x.listener, "listenerFilters") // which look for TLS
	delete(manager, "rds")
	x.listener["address"], manager["routeConfig"] = address(host, number), x.routes
	for _, h := range listOf(x.routes["virtualHosts"]) {
		h.(object)["domains"] = []any{"*"}
	}

	printed := load(t, clusters)
	var mine []any
	for name := range x.clusters {
		i := slices.IndexFunc(listOf(printed["clusters"]), func(c any) bool { return at(c, "name") == stands(t, name) })
		if i < 0 {
			t.Fatalf("nothing on the stage stands for %s", name)
		}
		copied := load(t, dump(t, listOf(printed["clusters"])[i]))
		copied["name"] = name
		if a, ok := copied["load_assignment"].(object); ok {
			a["cluster_name"] = name
		}
		mine = append(mine, copied)
	}
	text := dump(t, object{
		"admin":            object{"address": address("127.0.0.1", 0)},
		"static_resources": object{"listeners": []any{x.listener}, "clusters": mine},
	})
	return []byte(strings.ReplaceAll(string(text), "api.gallery.example", hostOf(t, printed, "provider_gallery")))
}

// stands says which of athd's own clusters stands for one of the mesh's.
func stands(t *testing.T, name string) string {
	t.Helper()
	for part, own := range map[string]string{
		"/extauth/": "athd_authz", "/handshake/": "athd_companion", "httproute/athd/proxy-gallery/": "provider_gallery", "httproute/athd/app-shop/": "provider_shop",
	} {
		if strings.Contains(name, part) {
			return own
		}
	}
	t.Fatalf("an unknown cluster: %s", name)
	return ""
}

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

	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/tree"
)

// generator runs one of the programs that make test-mesh builds, with YAML in a
// file whose path takes the place of FILE, and returns what it prints. variable
// names it.
func generator(t *testing.T, variable string, in []byte, args ...string) []byte {
	t.Helper()
	program := os.Getenv(variable)
	if program == "" {
		t.Fatalf("%s names no program: make test-mesh builds it", variable)
	}
	file := filepath.Join(t.TempDir(), "in.yaml")
	if err := os.WriteFile(file, in, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, arg := range args {
		if arg == "FILE" {
			args[i] = file
		}
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", filepath.Base(program), err, out, &stderr)
	}
	return out
}

// The files of deploy/envoy-gateway that belong together: athd is asked by
// ext_authz, or by ext_proc.
var (
	byExtAuthz = []string{"athd.yaml", "gateway.yaml", "check.yaml", "guard.yaml", "raw-headers.yaml", "replies.yaml"}
	byExtProc  = []string{"athd.yaml", "gateway.yaml", "ext-proc/judge.yaml", "guard.yaml", "replies.yaml"}
	streamsToo = "streams/watch.yaml"
)

// gatewayInput is files of deploy/envoy-gateway with what they want to be there,
// and more.
func gatewayInput(t *testing.T, files []string, more ...string) []byte {
	t.Helper()
	var all [][]byte
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join("../../../deploy/envoy-gateway", file))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	for _, text := range more {
		all = append(all, []byte(text))
	}
	authority := realenvoy.NewAuthority(t)
	for _, name := range []string{"agents-example-com", "consent-example-com", "gateway-client-tls"} {
		all = append(all, tlsSecret(t, authority, "athd", name))
	}
	ca, err := os.ReadFile(authority.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	all = append(all,
		dump(t, object{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": "athd-ca", "namespace": "athd"},
			"data": object{"ca.crt": string(ca)},
		}),
		dump(t, object{
			"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": object{"name": "eg"},
			"spec": object{"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
		}))
	return bytes.Join(all, []byte("\n---\n"))
}

// tlsSecret is a Secret with a certificate for the host of public_url.
func tlsSecret(t *testing.T, authority *realenvoy.Authority, namespace, name string) []byte {
	t.Helper()
	certFile, keyFile := authority.Issue("agents.example.com", "consent.example.com")
	data := object{}
	for key, path := range map[string]string{"tls.crt": certFile, "tls.key": keyFile} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[key] = base64.StdEncoding.EncodeToString(text)
	}
	return dump(t, object{
		"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
		"metadata": object{"name": name, "namespace": namespace}, "data": data,
	})
}

func translate(t *testing.T, to string, files []string, more ...string) object {
	t.Helper()
	args := []string{"x", "translate", "--from", "gateway-api", "--to", to, "-f", "FILE", "-o", "yaml"}
	if to == "xds" {
		args = append(args, "--type", "all")
	}
	return tree.Load(t, generator(t, "ATHD_EGCTL", gatewayInput(t, files, more...), args...))
}

// Envoy Gateway takes all that deploy/envoy-gateway says: no resource has a
// condition that does not hold.
func TestEnvoyGatewayAcceptsTheFiles(t *testing.T) {
	for name, files := range map[string][]string{"ext_authz": append(byExtAuthz, streamsToo), "ext_proc": append(byExtProc, streamsToo)} {
		t.Run(name, func(t *testing.T) { accepted(t, files) })
	}
}

func accepted(t *testing.T, files []string) {
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
	look(translate(t, "gateway-api", files), nil)
	if conditions < 15 {
		t.Errorf("only %d conditions were found", conditions)
	}
}

// consentHost is the name of consent_url on a stage whose public_url is at
// 127.0.0.1.
const consentHost = "localhost"

// What Envoy Gateway makes of deploy/envoy-gateway passes the whole walk. Its
// listener, filters and routes are as they come, but for TLS towards clients
// and the names of hosts; where they lead is a stage's.
func TestEnvoyGatewayGenerated(t *testing.T) {
	all := xdsOf(t, translate(t, "xds", byExtAuthz))
	m := mesh{
		name: "what Envoy Gateway makes", raw: true, merges: true, clears: true, away: http.StatusServiceUnavailable,
		config: all.config, consentHost: consentHost,
	}
	t.Run("clusters", func(t *testing.T) {
		clustersAuthenticate(t, all.clusters, "securitypolicy/athd/agents/extauth/0", "securitypolicy/athd/proxy-gallery/extauth/0", "securitypolicy/athd/app-shop/extauth/0")
	})
	t.Run("verify-envoy", m.hasNoFault)
	m.works(t)
}

// With streams/watch.yaml streams end, whichever way athd is asked.
func TestEnvoyGatewayGeneratedStreams(t *testing.T) {
	for name, files := range map[string][]string{"ext_authz": byExtAuthz, "ext_proc": byExtProc} {
		t.Run(name, func(t *testing.T) {
			all := xdsOf(t, translate(t, "xds", append(files, streamsToo)))
			clustersAuthenticate(t, object{
				"httproute/athd/handshake/rule/0":     all.clusters["httproute/athd/handshake/rule/0"],
				"httproute/athd/proxy-gallery/rule/0": all.clusters["httproute/athd/proxy-gallery/rule/0"],
				"athd_streams":                        object{"transportSocketMatches": []any{object{"transportSocket": at(all.clusters["athd_streams"], "transportSocket")}}},
			}, "athd_streams")
			mesh{name: name, judges: name == "ext_proc", config: all.config, consentHost: consentHost}.watches(t)
		})
	}
}

// xds is what a control plane sends to one Envoy.
type xds struct {
	listener, routes, clusters object
	// cluster puts one of the clusters on a stage, where own stands for it.
	cluster func(made, own object) object
}

// renamed is the stage's own cluster by the name of one that was made, with its
// filters.
func renamed(made, own object) object {
	own["name"] = made["name"]
	if filters := at(made, "typedExtensionProtocolOptions", httpOptions, "httpFilters"); filters != nil {
		at(own, "typed_extension_protocol_options", httpOptions).(object)["http_filters"] = filters
	}
	if a, ok := own["load_assignment"].(object); ok {
		a["cluster_name"] = made["name"]
	}
	return own
}

func xdsOf(t *testing.T, out object) xds {
	t.Helper()
	found := xds{clusters: object{}, cluster: renamed}
	var consent []any
	for _, c := range listOf(at(out, "xds", "athd/agents", "configs")) {
		for _, l := range listOf(at(c, "dynamicListeners")) {
			if l := at(l, "activeState", "listener").(object); l["name"] == "athd/agents/https" {
				found.listener = l
			}
		}
		for _, r := range listOf(at(c, "dynamicRouteConfigs")) {
			switch r := at(r, "routeConfig").(object); r["name"] {
			case "athd/agents/https":
				found.routes = r
			case "athd/agents/consent": // has its own filter chain there, by its name in TLS
				consent = listOf(r["virtualHosts"])
			}
		}
		for _, c := range listOf(at(c, "dynamicActiveClusters")) {
			name, _ := at(c, "cluster", "name").(string)
			found.clusters[name] = at(c, "cluster")
		}
	}
	if found.listener == nil || found.routes == nil || len(found.clusters) < 4 {
		t.Fatalf("listener %v, routes %v, %d clusters", found.listener != nil, found.routes != nil, len(found.clusters))
	}
	found.routes["virtualHosts"] = append(listOf(found.routes["virtualHosts"]), consent...)
	return found
}

// clustersAuthenticate holds that athd is asked by mutual TLS under its own name, and so is the
// provider under its own.
func clustersAuthenticate(t *testing.T, clusters object, asked ...string) {
	t.Helper()
	want := map[string]string{
		"httproute/athd/handshake/rule/0":     "athd.athd.svc.cluster.local",
		"httproute/athd/proxy-gallery/rule/0": "api.gallery.example",
	}
	for _, name := range asked {
		want[name] = "athd.athd.svc.cluster.local"
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
	routes := tree.Load(t, dump(t, x.routes)) // a copy: this may not be its last stage
	for _, o := range []object{x.listener, routes} {
		delete(o, "@type")
	}
	for _, key := range []string{"transportSocket", "filterChainMatch"} {
		delete(chain, key)
	}
	delete(x.listener, "listenerFilters") // which look for TLS
	delete(manager, "rds")
	x.listener["address"], manager["routeConfig"] = address(host, number), routes
	x.listener["filterChains"] = []any{chain}
	apart := 0
	for _, h := range listOf(routes["virtualHosts"]) {
		domains := []any{"*"}
		if slices.Contains(listOf(at(h, "domains")), any("consent.example.com")) {
			domains = []any{consentHost, net.JoinHostPort(consentHost, port)}
			apart++
		}
		h.(object)["domains"] = domains
	}
	if apart != 1 {
		t.Fatalf("%d virtual hosts have the consent pages", apart)
	}

	printed := tree.Load(t, clusters)
	var mine []any
	for name, made := range x.clusters {
		i := slices.IndexFunc(listOf(printed["clusters"]), func(c any) bool { return at(c, "name") == stands(t, name) })
		if i < 0 {
			t.Fatalf("nothing on the stage stands for %s", name)
		}
		mine = append(mine, x.cluster(made.(object), tree.Load(t, dump(t, listOf(printed["clusters"])[i]))))
	}
	text := dump(t, object{
		"admin":            object{"address": address("127.0.0.1", 0)},
		"static_resources": object{"listeners": []any{x.listener}, "clusters": mine},
	})
	return []byte(strings.ReplaceAll(string(text), "api.gallery.example", hostOf(t, printed, "provider_gallery")))
}

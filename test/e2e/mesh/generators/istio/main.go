// Command istio prints what Istio's control plane makes of YAML, without a
// cluster, as JSON: the listeners, routes and clusters of one proxy, and the
// messages of Istio's analyzers. Unlike istioctl analyze it shows them what
// Kubernetes has, too.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"
	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/local"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/test"
	"istio.io/istio/pkg/util/protomarshal"
	"sigs.k8s.io/yaml"
)

func main() {
	file := flag.String("f", "", "the `file` of YAML documents: Istio's kinds, an IstioOperator, what Kubernetes has")
	kind := flag.String("type", "router", "the proxy: router, sidecar or waypoint")
	namespace := flag.String("namespace", "", "its namespace")
	labels := flag.String("labels", "", "its labels, `name=value,...`")
	address := flag.String("address", "", "its IP address")
	version := flag.String("version", "", "its version of Istio")
	flag.Parse()

	quiet := log.DefaultOptions()
	quiet.OutputPaths = []string{"stderr"}
	quiet.SetDefaultOutputLevel("all", log.WarnLevel)
	if err := log.Configure(quiet); err != nil {
		fail(err)
	}
	text, err := os.ReadFile(*file)
	if err != nil {
		fail(err)
	}
	config, rest, err := split(string(text))
	if err != nil {
		fail(err)
	}
	if _, _, err := crd.ParseInputs(rest); err != nil { // as the server would, with all of rest behind
		fail(err)
	}
	proxy := &model.Proxy{
		Type: model.NodeType(*kind), ConfigNamespace: *namespace, IPAddresses: []string{*address},
		Labels: map[string]string{}, Metadata: &model.NodeMetadata{Namespace: *namespace, IstioVersion: *version},
	}
	for pair := range strings.SplitSeq(*labels, ",") {
		name, value, _ := strings.Cut(pair, "=")
		proxy.Labels[name] = value
	}
	proxy.Metadata.Labels = proxy.Labels

	out := map[string][]json.RawMessage{}
	if out["messages"], err = analyze(config, rest); err != nil {
		fail(err)
	}
	err = test.Wrap(func(t test.Failer) {
		server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{ConfigString: rest, KubernetesObjectString: rest, MeshConfig: config})
		p := server.SetupProxy(proxy)
		for _, l := range server.Listeners(p) {
			out["listeners"] = append(out["listeners"], printed(t, l))
		}
		for _, r := range server.Routes(p) {
			out["routes"] = append(out["routes"], printed(t, r))
		}
		for _, c := range server.Clusters(p) {
			out["clusters"] = append(out["clusters"], printed(t, c))
		}
	})
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		fail(err)
	}
}

// split takes the mesh's configuration out of the documents.
func split(text string) (*meshconfig.MeshConfig, string, error) {
	config, rest := mesh.DefaultMeshConfig(), []string{}
	for part := range strings.SplitSeq(text, "\n---\n") {
		var operator struct {
			Kind string
			Spec struct{ MeshConfig map[string]any }
		}
		if err := yaml.Unmarshal([]byte(part), &operator); err != nil {
			return nil, "", err
		}
		if operator.Kind != "IstioOperator" {
			rest = append(rest, part)
			continue
		}
		given, err := yaml.Marshal(operator.Spec.MeshConfig)
		if err != nil {
			return nil, "", err
		}
		if err := protomarshal.ApplyYAMLStrict(string(given), &meshconfig.MeshConfig{}); err != nil {
			return nil, "", err
		}
		if config, err = mesh.ApplyMeshConfig(string(given), config); err != nil {
			return nil, "", err
		}
	}
	return config, strings.Join(rest, "\n---\n"), nil
}

// analyze returns what istioctl analyze would say, had it a cluster.
func analyze(config *meshconfig.MeshConfig, text string) ([]json.RawMessage, error) {
	given, err := protomarshal.ToYAML(config)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "mesh-*.yaml")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	if _, err := file.WriteString(given); err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	a := local.NewIstiodAnalyzer(analyzers.AllCombined(), "", "istio-system", nil)
	if err := a.AddFileKubeMeshConfig(file.Name()); err != nil {
		return nil, err
	}
	if err := a.AddTestReaderKubeSource([]local.ReaderSource{{Name: "input", Reader: strings.NewReader(text)}}); err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	defer close(stop)
	found, err := a.Analyze(stop)
	if err != nil {
		return nil, err
	}
	if len(found.SkippedAnalyzers) > 0 {
		return nil, fmt.Errorf("analyzers were skipped: %s", found.SkippedAnalyzers)
	}
	var all []json.RawMessage
	for _, m := range found.Messages {
		text, err := json.Marshal(m.Unstructured(true))
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}

func printed(t test.Failer, m proto.Message) json.RawMessage {
	text, err := protomarshal.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

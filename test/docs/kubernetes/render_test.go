package kubernetes

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const manifests = "../../../deploy/kubernetes"

// rendered is an overlay, read by Kubernetes' types.
type rendered struct {
	namespace  corev1.Namespace
	account    corev1.ServiceAccount
	config     corev1.ConfigMap
	service    corev1.Service
	deployment appsv1.Deployment
	network    networkingv1.NetworkPolicy
	disruption policyv1.PodDisruptionBudget
}

// pod returns what the Deployment starts.
func (r *rendered) pod() *corev1.PodSpec { return &r.deployment.Spec.Template.Spec }

func overlays(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(manifests, "overlays"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) < 2 {
		t.Fatalf("only %v", names)
	}
	return names
}

// render fails the test where anything is unknown, missing or there twice. target
// is a folder, or a URL as kubectl apply -k takes it.
func render(t *testing.T, target string) *rendered {
	t.Helper()
	all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), target)
	if err != nil {
		t.Fatal(err)
	}
	r := &rendered{}
	kinds := map[string]any{
		"v1/Namespace": &r.namespace, "v1/ServiceAccount": &r.account, "v1/ConfigMap": &r.config, "v1/Service": &r.service,
		"apps/v1/Deployment": &r.deployment, "networking.k8s.io/v1/NetworkPolicy": &r.network, "policy/v1/PodDisruptionBudget": &r.disruption,
	}
	for _, resource := range all.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		gvk := resource.GetGvk()
		kind := strings.TrimPrefix(gvk.Group+"/"+gvk.Version+"/"+gvk.Kind, "/")
		into, known := kinds[kind]
		if !known {
			t.Fatalf("a %s, of which there is none or one already", kind)
		}
		delete(kinds, kind)
		if err := read(text, into); err != nil {
			t.Errorf("%s: %v\n%s", kind, err, text)
		}
		if ns := resource.GetNamespace(); kind != "v1/Namespace" && ns != "athd" {
			t.Errorf("%s is in namespace %q", kind, ns)
		}
	}
	for kind := range kinds {
		t.Errorf("there is no %s", kind)
	}
	return r
}

// read decodes as Kubernetes' API server does where field validation is strict:
// unknown fields, fields that are there twice and fields in another case are
// errors.
func read(text []byte, into any) error {
	body, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return err
	}
	strict, err := json.UnmarshalStrict(body, into)
	return errors.Join(append(strict, err)...)
}

func TestOverlaysRenderToValidObjects(t *testing.T) {
	for _, overlay := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			r := render(t, filepath.Join(manifests, "overlays", overlay))
			t.Run("the process may nothing", func(t *testing.T) { mayNothing(t, r) })
			t.Run("ports and probes", func(t *testing.T) { portsAndProbes(t, r) })
			t.Run("volumes", func(t *testing.T) { volumes(t, r) })
			t.Run("only the gateway connects", func(t *testing.T) { onlyTheGateway(t, r) })
			t.Run("staying up", func(t *testing.T) { stayingUp(t, r) })
		})
	}
}

func mayNothing(t *testing.T, r *rendered) {
	pod, c := r.pod(), r.pod().Containers[0]
	if len(pod.Containers) != 1 || len(pod.InitContainers) > 0 {
		t.Error("there is more than athd")
	}
	for _, mount := range []*bool{r.account.AutomountServiceAccountToken, pod.AutomountServiceAccountToken} {
		if mount == nil || *mount {
			t.Error("athd gets a token of Kubernetes")
		}
	}
	if pod.ServiceAccountName != r.account.Name {
		t.Errorf("runs as %q", pod.ServiceAccountName)
	}
	if s := pod.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser == 0 ||
		s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod: %+v", s)
	}
	if s := c.SecurityContext; s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
		s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.Capabilities == nil ||
		!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 || s.Privileged != nil {
		t.Errorf("the container: %+v", s)
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Error("it shares something with its node")
	}
	if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
		t.Errorf("resources: %+v", c.Resources)
	}
	if r.namespace.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Error("the namespace lets pods do more")
	}
	if want := image + newest(t); c.Image != want {
		t.Errorf("the image is %s, want %s", c.Image, want)
	}
}

func portsAndProbes(t *testing.T, r *rendered) {
	c := r.pod().Containers[0]
	ports := map[string]int32{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	config := r.config.Data["athd.yaml"]
	for name, port := range map[string]int32{"grpc": 9001, "http": 9000, "admin": 9002} {
		if ports[name] != port || !strings.Contains(config, name+": 0.0.0.0:"+map[int32]string{9001: "9001", 9000: "9000", 9002: "9002"}[port]) {
			t.Errorf("%s is at %d in the pod, and elsewhere in athd.yaml:\n%s", name, ports[name], config)
		}
	}
	for name, probe := range map[string]*corev1.Probe{"/health": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != name || probe.HTTPGet.Port.String() != "admin" {
			t.Errorf("no probe asks %s: %+v", name, probe)
		}
	}
	for _, p := range r.service.Spec.Ports {
		if ports[p.TargetPort.String()] != p.Port || p.Name == "admin" {
			t.Errorf("the Service leads %d to %s", p.Port, p.TargetPort.String())
		}
	}
	if len(r.service.Spec.Ports) != 2 || r.service.Spec.Type != "" && r.service.Spec.Type != corev1.ServiceTypeClusterIP {
		t.Errorf("the Service: %+v", r.service.Spec)
	}
}

// volumes: what athd.yaml names is mounted, and secrets are Secrets.
func volumes(t *testing.T, r *rendered) {
	c := r.pod().Containers[0]
	sources := map[string]corev1.VolumeSource{}
	for _, v := range r.pod().Volumes {
		sources[v.Name] = v.VolumeSource
	}
	if len(c.Env)+len(c.EnvFrom) > 0 {
		t.Error("something is told by the environment, which shows in listings")
	}
	mounted := map[string]bool{}
	for _, m := range c.VolumeMounts {
		source := sources[m.Name]
		mounted[filepath.Base(m.MountPath)] = true
		if !m.ReadOnly {
			t.Errorf("%s can be written", m.MountPath)
		}
		switch {
		case source.ConfigMap != nil:
			if source.ConfigMap.Name != r.config.Name || !strings.HasPrefix(r.config.Name, "athd-") {
				t.Errorf("mounts ConfigMap %q; the one that is rendered is %q", source.ConfigMap.Name, r.config.Name)
			}
		case source.Secret != nil:
			if source.Secret.DefaultMode == nil || *source.Secret.DefaultMode&0o037 != 0 {
				t.Errorf("Secret %s can be read by others", source.Secret.SecretName)
			}
		default:
			t.Errorf("%s is neither a ConfigMap nor a Secret", m.MountPath)
		}
	}
	for line := range strings.Lines(r.config.Data["athd.yaml"]) {
		_, rest, found := strings.Cut(line, "../")
		if !found || strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		if folder, _, _ := strings.Cut(rest, "/"); !mounted[folder] {
			t.Errorf("nothing is mounted for %s", line)
		}
	}
	if want := "/etc/athd/config/athd.yaml"; !slices.Contains(c.Args, want) || !mounted["config"] || r.config.Data["providers.json"] == "" {
		t.Errorf("athd is not told %s: %v", want, c.Args)
	}
}

// onlyTheGateway: no rule for gRPC or the companion is open to whoever asks.
func onlyTheGateway(t *testing.T, r *rendered) {
	spec := r.network.Spec
	if !slices.Equal(spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) ||
		spec.PodSelector.MatchLabels["app.kubernetes.io/name"] != r.deployment.Spec.Template.Labels["app.kubernetes.io/name"] {
		t.Fatalf("it is not about athd: %+v", spec)
	}
	grpc := 0
	for _, rule := range spec.Ingress {
		if len(rule.Ports) == 0 {
			t.Errorf("a rule for every port: %+v", rule)
		}
		for _, p := range rule.Ports {
			name := p.Port.String()
			if name != "grpc" && name != "http" {
				continue
			}
			grpc++
			if len(rule.From) != 1 {
				t.Fatalf("%s is open to %d kinds of peers", name, len(rule.From))
			}
			from := rule.From[0]
			if from.NamespaceSelector == nil || len(from.NamespaceSelector.MatchLabels) == 0 ||
				from.PodSelector == nil || len(from.PodSelector.MatchLabels) == 0 || from.IPBlock != nil {
				t.Errorf("%s is open to %+v", name, from)
			}
			if from.NamespaceSelector != nil && from.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] == "gateway" {
				t.Error("the overlay does not say who the gateway is")
			}
		}
	}
	if grpc != 2 {
		t.Errorf("%d rules for grpc and http", grpc)
	}
}

func stayingUp(t *testing.T, r *rendered) {
	spec := r.deployment.Spec
	if spec.Replicas == nil || *spec.Replicas < 2 || r.disruption.Spec.MinAvailable == nil || r.disruption.Spec.MinAvailable.IntValue() < 1 {
		t.Errorf("%v replicas, %v must stay", spec.Replicas, r.disruption.Spec.MinAvailable)
	}
	labels := spec.Template.Labels
	for what, selector := range map[string]map[string]string{
		"Deployment": spec.Selector.MatchLabels, "Service": r.service.Spec.Selector, "PodDisruptionBudget": r.disruption.Spec.Selector.MatchLabels,
	} {
		if len(selector) == 0 {
			t.Errorf("%s selects everything", what)
		}
		for k, v := range selector {
			if labels[k] != v {
				t.Errorf("%s selects %s=%s, which no pod of athd has", what, k, v)
			}
		}
	}
	keys := map[string]bool{}
	for _, c := range r.pod().TopologySpreadConstraints {
		keys[c.TopologyKey] = len(c.LabelSelector.MatchLabels) > 0
	}
	if !keys["kubernetes.io/hostname"] || !keys["topology.kubernetes.io/zone"] {
		t.Errorf("all may be on one node: %v", keys)
	}
	if spec.Strategy.RollingUpdate == nil || spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() != 0 {
		t.Errorf("an update takes one away first: %+v", spec.Strategy)
	}
}

// A field that Kubernetes does not know is noticed: the check itself works.
func TestUnknownFieldsAreNoticed(t *testing.T) {
	for _, text := range []string{
		"kind: Deployment\nspec: {replica: 2}", "kind: Deployment\nspec: {replicas: two}",
		"kind: Deployment\nspec: {template: {spec: {containers: [{securityContext: {readOnlyRootFileSystem: true}}]}}}",
	} {
		if err := read([]byte(text), &appsv1.Deployment{}); err == nil {
			t.Errorf("taken: %s", text)
		}
	}
}

package kubernetes

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// The policy of the page is one of Kubernetes', selects athd's pods, and lets
// them reach the internet, but no private or link-local address.
func TestTheEgressPolicyOfThePage(t *testing.T) {
	var policy networkingv1.NetworkPolicy
	if err := read([]byte(shown(t, "```yaml\napiVersion: networking.k8s.io/v1\n", "apiVersion: networking.k8s.io/v1\n")), &policy); err != nil {
		t.Fatal(err)
	}
	if policy.Spec.PodSelector.MatchLabels["app.kubernetes.io/name"] != "athd" || len(policy.Spec.PolicyTypes) != 1 || policy.Spec.PolicyTypes[0] != networkingv1.PolicyTypeEgress {
		t.Errorf("it is of %v, for %v", policy.Spec.PodSelector, policy.Spec.PolicyTypes)
	}
	open := func(addr string) bool {
		at := netip.MustParseAddr(addr)
		for _, rule := range policy.Spec.Egress {
			for _, to := range rule.To {
				if to.IPBlock == nil || !netip.MustParsePrefix(to.IPBlock.CIDR).Contains(at) {
					continue
				}
				inside := true
				for _, except := range to.IPBlock.Except {
					inside = inside && !netip.MustParsePrefix(except).Contains(at)
				}
				if inside && len(rule.Ports) == 1 && rule.Ports[0].Port.IntValue() == 443 && (rule.Ports[0].Protocol == nil || *rule.Ports[0].Protocol == corev1.ProtocolTCP) {
					return true
				}
			}
		}
		return false
	}
	for addr, want := range map[string]bool{
		"93.184.215.14": true, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "100.64.0.1": false, "169.254.169.254": false,
	} {
		if open(addr) != want {
			t.Errorf("%s: reached %v, want %v", addr, open(addr), want)
		}
	}
}

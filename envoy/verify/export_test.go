package verify

import (
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"github.com/athd/athd/egress"
)

// CompareAddresses returns what is found in rules that judge the addresses of a
// cluster, alone: a whole dump is slow to search from.
func CompareAddresses(policy egress.Policy, rules *rbacv3.RBAC) []string {
	v := &verifier{expect: Expectation{Egress: policy}, found: map[Finding]bool{}}
	c := &chain{manager: &manager{verifier: v}}
	c.compareEgress("cluster", []*rbacv3.RBAC{rules}, false)
	var out []string
	for f := range v.found {
		out = append(out, f.What)
	}
	return out
}

package bootstrap_test

import (
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/envoyconfig"
)

// What Envoy sends again has not arrived anywhere: a second copy of a request to
// the companion would spend an attestation or count a code as one more guess,
// and one to an API would do there what the agent asked for once.
// proves: A-5
func TestNothingThatMayHaveArrivedIsSentAgain(t *testing.T) {
	unsent := map[string]bool{"connect-failure": true, "refused-stream": true, "reset-before-request": true}
	for name, c := range envoyconfig.Variants(t) {
		again := false
		for _, host := range envoyconfig.Manager(t, envoyconfig.Parse(t, envoyconfig.Generate(t, c))).GetRouteConfig().VirtualHosts {
			if host.RetryPolicy != nil {
				t.Errorf("%s: %s sends again whatever fails: %v", name, host.Name, host.RetryPolicy)
			}
			for _, r := range host.Routes {
				policy := r.GetRoute().GetRetryPolicy()
				if policy == nil {
					continue
				}
				again = true
				if r.GetRoute().GetCluster() != "athd_companion" || policy.NumRetries.GetValue() > 1 || len(policy.RetriableStatusCodes) > 0 || len(policy.RetriableHeaders) > 0 {
					t.Errorf("A-5: %s: route %q sends again: %v", name, r.Name, policy)
				}
				for on := range strings.SplitSeq(policy.RetryOn, ",") {
					if !unsent[on] && !(on == "reset" && r.Name == "discovery") { // which only reads
						t.Errorf("A-5: %s: route %q sends again on %q", name, r.Name, on)
					}
				}
			}
		}
		if !again {
			t.Errorf("%s: nothing is sent again, so that this test sees nothing", name)
		}
	}
}

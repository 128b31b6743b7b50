package bootstrap_test

import (
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/athd/athd/test/harness/envoyconfig"
)

// What Envoy sends again has not arrived anywhere: a second copy of a request to
// the companion would spend an attestation or count a code as one more guess,
// and one to an API would do there what the agent asked for once. But for what an API
// has answered with 401, and asks for once only: that is marked behind the router, where
// no API and no agent reaches the mark.
// proves: A-5
func TestNothingThatMayHaveArrivedIsSentAgain(t *testing.T) {
	unsent := map[string]bool{"connect-failure": true, "refused-stream": true, "reset-before-request": true}
	for name, c := range envoyconfig.Variants(t) {
		again, all := false, envoyconfig.Parse(t, envoyconfig.Generate(t, c))
		for _, host := range envoyconfig.Manager(t, all).GetRouteConfig().VirtualHosts {
			if host.RetryPolicy != nil {
				t.Errorf("%s: %s sends again whatever fails: %v", name, host.Name, host.RetryPolicy)
			}
			for _, r := range host.Routes {
				policy := r.GetRoute().GetRetryPolicy()
				if policy == nil {
					continue
				}
				again = true
				if cluster := r.GetRoute().GetCluster(); healed(t, all, cluster) {
					if policy.RetryOn != "retriable-headers" || policy.NumRetries.GetValue() != 1 || len(policy.RetriableStatusCodes) > 0 ||
						len(policy.RetriableHeaders) != 1 || policy.RetriableHeaders[0].Name != "x-ath-retry" || !slices.Contains(r.ResponseHeadersToRemove, "x-ath-retry") {
						t.Errorf("A-5: %s: route %q sends again: %v", name, r.Name, policy)
					}
					continue
				}
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

// healed reports whether a cluster marks the 401s of what may be sent again, behind
// the filter that removes such marks from an API's reply.
func healed(t *testing.T, b *bootstrapv3.Bootstrap, cluster string) bool {
	t.Helper()
	for _, c := range b.StaticResources.Clusters {
		if c.Name != cluster {
			continue
		}
		var names []string
		for _, options := range c.TypedExtensionProtocolOptions {
			o := &httpv3.HttpProtocolOptions{}
			if err := options.UnmarshalTo(o); err != nil {
				t.Fatal(err)
			}
			for _, f := range o.HttpFilters {
				names = append(names, f.Name)
			}
		}
		mark := slices.Index(names, "athd.heal_mark")
		return mark >= 0 && slices.Index(names, "athd.replies") > mark
	}
	return false
}

package config

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/athd/athd/ratelimit"
)

// offered is a key that a file of deploy has as a comment, for whoever wants it.
var offered = regexp.MustCompile(`(?m)^( *)# ( *(?:egress|operator|tokens|limits|envoy_addresses|calls_per_grant|filter|streams|replies):.*)$`)

// TestWhatDeployOffersAsACommentLoads: the configurations of compose and Kubernetes
// change nothing by default, and each line that they offer works without its mark.
func TestWhatDeployOffersAsACommentLoads(t *testing.T) {
	for _, dir := range []string{"compose", "kubernetes/overlays/istio", "kubernetes/overlays/envoy-gateway"} {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			m := earlierMachine(t)
			m.put(t, "/etc/athd/providers.json", "../deploy/"+dir+"/providers.json")
			text, err := os.ReadFile("../deploy/" + dir + "/athd.yaml")
			if err != nil {
				t.Fatal(err)
			}
			for taken, file := range map[bool][]byte{false: text, true: offered.ReplaceAll(text, []byte("$1$2"))} {
				m.Files["/etc/athd/athd.yaml"] = string(file)
				s, faults := Load("/etc/athd/athd.yaml", sources(m.Machine))
				if faults != nil {
					t.Fatalf("%v\n%s", faults, file)
				}
				for key, is := range map[string]bool{
					"tokens.renewal":         !s.Renewal.IsZero(),
					"operator":               !s.Operator.Contact.IsZero(),
					"limits.calls_per_grant": s.CallsPerGrant != ratelimit.Unlimited,
					"envoy.streams":          s.Envoy.WatchesStreams,
					"envoy.replies":          s.Envoy.ChecksReplies,
				} {
					if is != taken {
						t.Errorf("%s is set: %v, want %v", key, is, taken)
					}
				}
			}
		})
	}
}

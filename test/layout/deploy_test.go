package layout

import (
	"os"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

// The files for meshes lead every path of the table to the companion, once for
// each origin that it is on.
func TestMeshFilesHaveEveryPathOfTheTable(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile("../../deploy/" + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	istio, gateway := read("istio/gateway.yaml"), read("envoy-gateway/gateway.yaml")
	whole := map[string]string{"istio/sidecar.yaml": read("istio/sidecar.yaml"), "istio/ambient.yaml": read("istio/ambient.yaml")}
	for _, row := range ath.Paths() {
		if !row.Companion() {
			continue
		}
		origins := 0
		for _, on := range []ath.PathOrigins{ath.OnPublic, ath.OnConsent} {
			if row.On&on != 0 {
				origins++
			}
		}
		if covered(row) {
			continue // a row above it stands for it
		}
		matches := []string{"{exact: " + row.Path + "}"}
		if row.Below() {
			matches[0] = "{prefix: " + row.Path + "}"
		}
		if row.PerProvider {
			matches = append(matches, "{prefix: "+row.Path+"/}")
		}
		for _, match := range matches {
			if n := strings.Count(istio, match); n != origins {
				t.Errorf("deploy/istio/gateway.yaml has %s %d times, want %d", match, n, origins)
			}
		}
		match := "{type: Exact, value: " + row.Path + "}"
		if row.Below() || row.PerProvider {
			match = "{type: PathPrefix, value: " + strings.TrimSuffix(row.Path, "/") + "}"
		}
		if n := strings.Count(gateway, match); n != origins {
			t.Errorf("deploy/envoy-gateway/gateway.yaml has %s %d times, want %d", match, n, origins)
		}
		for name, text := range whole {
			_, list, _ := strings.Cut(text, "paths: [")
			list, _, _ = strings.Cut(list, "]")
			found := false
			for glob := range strings.SplitSeq(list, ", ") {
				below, tree := strings.CutSuffix(glob, "*")
				found = found || glob == row.Path || tree && strings.HasPrefix(row.Path, below)
			}
			if !found {
				t.Errorf("deploy/%s does not close %s: %s", name, row.Path, list)
			}
		}
	}
}

func covered(row ath.Path) bool {
	for _, other := range ath.Paths() {
		if other.Path != row.Path && other.Match(row.Path) {
			return true
		}
	}
	return false
}

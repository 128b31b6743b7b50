package config

import (
	"strings"
	"testing"

	"github.com/athd/athd/config/configtest"
)

// Where a mesh has the routes, nothing behind the check looks at the address that is
// dialled: providers come from files, unless the operator says otherwise.
func TestAMeshHasNoRuntimeProvidersUnlessItIsSaid(t *testing.T) {
	for envoy, want := range map[string]struct{ runtime, warns bool }{
		"{}":                           {true, false},
		"{destination: route}":         {true, false},
		"{runtime_providers: false}":   {false, false},
		"{destination: host_and_path}": {false, false},
		"{destination: host_and_path, runtime_providers: false}": {false, false},
		"{destination: host_and_path, runtime_providers: true}":  {true, true},
	} {
		s, faults := Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(map[string]string{"envoy": envoy})), sources(configtest.NewMachine(t)))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		warns := strings.Contains(strings.Join(s.Warnings, "\n"), "envoy.runtime_providers")
		if s.Envoy.RuntimeProviders != want.runtime || warns != want.warns {
			t.Errorf("%s: %v, with a warning: %v", envoy, s.Envoy.RuntimeProviders, warns)
		}
	}
}

// A mesh's routes take no duration from athd, so that nothing bounds a stream that
// athd does not hear of any more.
func TestAMeshIsWarnedOfStreamsThatAreKept(t *testing.T) {
	for envoy, want := range map[string]bool{
		"{streams: watched, streams_on_loss: keep}":                             false,
		"{destination: host_and_path, streams: watched}":                        false,
		"{destination: host_and_path, streams: watched, streams_on_loss: end}":  false,
		"{destination: host_and_path, streams: watched, streams_on_loss: keep}": true,
	} {
		s, faults := Parse("/etc/athd/athd.yaml", []byte(configtest.YAML(map[string]string{"envoy": envoy})), sources(configtest.NewMachine(t)))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if warns := strings.Contains(strings.Join(s.Warnings, "\n"), "envoy.streams_on_loss"); warns != want {
			t.Errorf("%s: a warning: %v", envoy, warns)
		}
	}
}

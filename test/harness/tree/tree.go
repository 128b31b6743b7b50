// Package tree looks into YAML and JSON whose form a test does not spell out,
// such as an Envoy configuration.
package tree

import (
	"testing"

	"go.yaml.in/yaml/v4"
)

// An Object is a mapping.
type Object = map[string]any

// Load reads a document whose root is a mapping.
func Load(t testing.TB, text []byte) Object {
	t.Helper()
	var o Object
	if err := yaml.Load(text, &o); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return o
}

// At returns what stands at a place: names of members, and indexes. The test
// fails where there is nothing.
func At(t testing.TB, v any, place ...any) any {
	t.Helper()
	for _, step := range place {
		switch step := step.(type) {
		case string:
			o, _ := v.(Object)
			v = o[step]
		case int:
			list, _ := v.([]any)
			if v = nil; step < len(list) {
				v = list[step]
			}
		}
		if v == nil {
			t.Fatalf("there is nothing at %v", place)
		}
	}
	return v
}

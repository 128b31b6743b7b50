package strict_test

import (
	"testing"

	"github.com/athd/athd/strict"
)

func TestFaultsOfJSONHavePointers(t *testing.T) {
	type rule struct {
		Scope string `yaml:"scope"`
	}
	var into struct {
		Name  string            `yaml:"name"`
		Rules []rule            `yaml:"rules"`
		Extra map[string]string `yaml:"extra"`
	}
	doc, faults := strict.JSON("f", []byte(`{"name": 7, "rules": [{"scope": "a"}, {"scop": "b"}], "extra": {"a/b~c": 1, "x": "${Y}"}}`), &into)
	faults = append(faults, doc.Expand(nil, &into)...)
	c := strict.Checker{Doc: doc, Bare: true}
	c.Fail("is missing", "rules", 0, "methods")
	c.Fail("is odd")
	got := map[string]string{}
	for _, f := range append(faults, c.Faults...) {
		got[f.Pointer] = f.Message
	}
	for pointer, want := range map[string]string{
		"/name": "want text, got a number", "/rules/1/scop": `unknown key "scop", did you mean "scope"?`, "/extra/a~1b~0c": "want text, got a number",
		"/extra/x":         "environment variables are not read here: write the value itself, or $${ for a plain ${",
		"/rules/0/methods": "is missing", "": "is odd",
	} {
		if got[pointer] != want {
			t.Errorf("%s: %q, want %q", pointer, got[pointer], want)
		}
	}
	if len(got) != 6 {
		t.Errorf("%v", got)
	}
	doc, faults = strict.YAML("f", []byte("name: [1]\n"), &into)
	if len(faults) != 1 || faults[0].Pointer != "" || doc.Fault("x", "name").Pointer != "" {
		t.Errorf("YAML: %v", faults)
	}
}

package strict_test

import (
	"slices"
	"testing"

	"github.com/athd/athd/strict"
)

const checked = `{
  "one": {"url": "", "rules": [{"scope": "a"}, {"scope": 7}]}
}`

func TestCheckerNamesFieldAndPlace(t *testing.T) {
	type rule struct {
		Scope string `yaml:"scope"`
	}
	type entry struct {
		URL   string `yaml:"url"`
		Rules []rule `yaml:"rules"`
	}
	var into map[string]entry
	doc, faults := strict.JSON("f", []byte(checked), &into)
	if len(faults) != 1 { // 7 is no scope
		t.Fatal(faults)
	}
	var warnings strict.Faults
	c := strict.Checker{Doc: doc, Base: []any{"one"}, Warn: func(f strict.Fault) { warnings = append(warnings, f) }}
	if c.Required("", "url") || c.Required("", "name") || !c.Required("x", "name") {
		t.Error("required says otherwise than it reports")
	}
	c.Fail("is odd", "rules", 0, "scope")
	c.Fail("is odd", "rules", 1, "scope") // the decoder has reported it
	c.Fail("the entry is odd")
	c.Warning("is never needed", "rules", 0)
	c.Warning("is never needed", "rules", 1, "scope")
	want := []string{
		"f:2:11: url: is empty",
		"f:2:3: name: is missing",
		"f:2:33: rules[0].scope: is odd",
		"f:2:3: the entry is odd",
	}
	var got []string
	for _, f := range c.Faults {
		got = append(got, f.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if len(warnings) != 1 || warnings[0].String() != "f:2:32: rules[0]: is never needed" {
		t.Errorf("warnings %v", warnings)
	}
	c.Warn = nil
	c.Warning("is dropped", "rules", 0)
	if len(c.Faults) != len(want) || len(warnings) != 1 {
		t.Error("a warning became a fault")
	}
}

func TestLabelReadsAsPeopleWriteIt(t *testing.T) {
	for want, path := range map[string][]any{
		"": nil, "a": {"a"}, "approval.rules[0].action": {"approval", "rules", 0, "action"}, "[2].x": {2, "x"},
	} {
		if got := strict.Label(path...); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

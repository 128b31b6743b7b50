package strict_test

import (
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/strict"
)

// A limit is an object, or a word that stands for one.
type limit struct {
	Max  string `yaml:"max"`
	word string
}

func (l *limit) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		l.word = n.Value
		return nil
	}
	type fields limit
	return n.Load((*fields)(l), yaml.WithKnownFields())
}

func TestAWordMayStandForAnObject(t *testing.T) {
	for text, want := range map[string]struct {
		limit
		fault string
	}{
		"limit: off":              {limit{word: "off"}, ""},
		"limit: {max: 5d}":        {limit{Max: "5d"}, ""},
		"limit:":                  {limit{}, ""},
		"limit: {maximum: 5d}":    {limit{}, `f:1:9: unknown key "maximum"`},
		"limit: {max: [a]}":       {limit{}, "f:1:14: want text, got a list"},
		"limit: [5d]":             {limit{}, "f:1:8: want an object, got a list"},
		"limit: {max: 5d, mx: 1}": {limit{}, `f:1:18: unknown key "mx", did you mean "max"?`},
	} {
		var into struct {
			Limit limit `yaml:"limit"`
		}
		_, faults := strict.YAML("f", []byte(text), &into)
		switch {
		case want.fault == "" && (faults != nil || into.Limit != want.limit):
			t.Errorf("%s: %+v, %v", text, into.Limit, faults)
		case want.fault != "" && (len(faults) != 1 || faults[0].String() != want.fault):
			t.Errorf("%s: %v, want %s", text, faults, want.fault)
		}
	}
}

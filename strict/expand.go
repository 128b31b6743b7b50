package strict

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Expand replaces ${NAME} by env's answer in every text value (never in keys)
// at and below path, and decodes what is there again into v, a pointer to a zero
// value. A variable that is not set is a fault; "$${" stands for "${".
// What a variable holds is not expanded again, and a value is expanded once
// only, however often Expand passes over it.
//
// When nothing stands at path, v stays as it is.
func (d *Document) Expand(env func(string) (string, bool), v any, path ...any) Faults {
	_, n, ok := d.find(path)
	if !ok {
		return nil
	}
	if d.expanded == nil {
		d.expanded = map[*yaml.Node]bool{}
	}
	s := shape{doc: d}
	if !s.checkStyle(n, 0) {
		return nil // reported when the document was read
	}
	var faults Faults
	d.expand(env, n, &faults)
	return append(d.report(faults), d.decode(n, v)...).Sort()
}

func (d *Document) expand(env func(string) (string, bool), n *yaml.Node, faults *Faults) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			d.expand(env, n.Content[i], faults)
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			d.expand(env, item, faults)
		}
	case yaml.ScalarNode:
		if n.Tag != "!!str" || d.expanded[n] {
			return
		}
		d.expanded[n] = true
		text, err := Expand(n.Value, env)
		if err != nil {
			*faults = append(*faults, Fault{File: d.file, Line: n.Line, Column: n.Column, Message: err.Error()})
			return
		}
		n.Value = text
	}
}

// Expand replaces ${NAME} in one text as [Document.Expand] does. The error
// names the variable, never a value. A nil env: variables are not for this document.
func Expand(text string, env func(string) (string, bool)) (string, error) {
	var out strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			out.WriteString(text)
			return out.String(), nil
		}
		if i > 0 && text[i-1] == '$' {
			out.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		name, rest, closed := strings.Cut(text[i+2:], "}")
		if !closed || !isVariable(name) {
			return "", errors.New("want ${NAME} with a name of letters, digits and _; write $${ for a plain ${")
		}
		if env == nil {
			return "", errors.New("environment variables are not read here: write the value itself, or $${ for a plain ${")
		}
		value, set := env(name)
		if !set {
			return "", fmt.Errorf("environment variable %s is not set", name)
		}
		out.WriteString(text[:i] + value)
		text = rest
	}
}

func isVariable(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && len(name) <= 128
}

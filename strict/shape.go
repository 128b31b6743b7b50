package strict

import (
	"cmp"
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v4"
)

const tooDeep = "more than 32 levels"

// A shape compares a tree with the Go type that it is to fill. The library
// does so too, but its messages name Go types and quote values, and it lets
// some things pass (an empty list entry is dropped).
type shape struct {
	doc    *Document
	faults Faults
}

func (s *shape) add(n *yaml.Node, format string, args ...any) {
	s.faults = append(s.faults, Fault{File: s.doc.file, Line: n.Line, Column: n.Column, Message: fmt.Sprintf(format, args...)})
}

// checkStyle refuses what no field may hold, whatever its type, and keys
// given twice. It reports whether the tree is safe to walk and decode: without
// aliases it is as large as the file at most.
func (s *shape) checkStyle(n *yaml.Node, depth int) bool {
	if depth > maxDepth {
		s.add(n, tooDeep)
		return false
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		s.add(n, "anchors and aliases are not used here: put a value that starts with * or & in quotes")
		return false
	}
	if n.Style&yaml.TaggedStyle != 0 {
		s.add(n, "tags are not used here: put a value that starts with ! in quotes")
		return false
	}
	sound := true
	if n.Kind == yaml.MappingNode {
		sound = s.checkKeys(n)
	}
	for _, c := range n.Content {
		if !s.checkStyle(c, depth+1) {
			sound = false
		}
	}
	return sound
}

func (s *shape) checkKeys(n *yaml.Node) bool {
	sound := true
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind == yaml.ScalarNode && k.Tag == "!!merge" {
			s.add(k, "merge keys are not used here")
			sound = false
			continue
		}
		if k.Kind != yaml.ScalarNode {
			s.add(k, "want a key, got %s", describe(k))
			sound = false
			continue
		}
		if line, twice := lines[k.Value]; twice {
			s.add(k, "key %q is given twice, first in line %d", clip(k.Value), line)
			sound = false
			continue
		}
		lines[k.Value] = k.Line
	}
	return sound
}

func (s *shape) checkTarget(n *yaml.Node, v any) {
	if t := reflect.TypeOf(v); t != nil && t.Kind() == reflect.Pointer {
		s.check(n, t.Elem())
	}
}

var (
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	yamlUnmarshaler = reflect.TypeFor[yaml.Unmarshaler]()
	durationType    = reflect.TypeFor[time.Duration]()
	nodeType        = reflect.TypeFor[yaml.Node]()
)

// check walks n along t. A null is as good as an absent value everywhere but
// in lists.
func (s *shape) check(n *yaml.Node, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	p := reflect.PointerTo(t)
	// A list that takes one alone, too.
	oneOrMore := p.Implements(yamlUnmarshaler) && t.Kind() == reflect.Slice
	if oneOrMore && n.Kind == yaml.MappingNode {
		s.check(n, t.Elem())
		return
	}
	if oneOrMore && n.Kind == yaml.SequenceNode {
		s.checkList(n, t.Elem())
		return
	}
	// An object that a word may stand for.
	if p.Implements(yamlUnmarshaler) && t.Kind() == reflect.Struct && t != nodeType && n.Kind != yaml.ScalarNode {
		s.checkStruct(n, t)
		return
	}
	if t == nodeType || p.Implements(yamlUnmarshaler) || n.Tag == "!!null" {
		return
	}
	if p.Implements(textUnmarshaler) {
		s.wantText(n)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		s.checkStruct(n, t)
	case reflect.Map:
		if s.want(n, n.Kind == yaml.MappingNode, "an object") {
			for i := 0; i+1 < len(n.Content); i += 2 {
				s.check(n.Content[i+1], t.Elem())
			}
		}
	case reflect.Slice, reflect.Array:
		if s.want(n, n.Kind == yaml.SequenceNode, "a list") {
			s.checkList(n, t.Elem())
		}
	default:
		s.checkScalar(n, t)
	}
}

func (s *shape) checkList(n *yaml.Node, of reflect.Type) {
	for _, item := range n.Content {
		if item.Tag == "!!null" {
			s.add(item, "an empty list entry")
		}
		s.check(item, of)
	}
}

func (s *shape) checkScalar(n *yaml.Node, t reflect.Type) {
	switch {
	case t == durationType:
		if s.wantText(n) {
			_, err := time.ParseDuration(n.Value)
			s.want(n, err == nil, "a duration such as 90s, 10m or 24h")
		}
	case t.Kind() == reflect.String:
		s.wantText(n)
	case t.Kind() == reflect.Bool:
		s.want(n, n.Tag == "!!bool", "true or false")
	case reflect.Int <= t.Kind() && t.Kind() <= reflect.Uint64:
		s.want(n, n.Tag == "!!int", "a whole number")
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		s.want(n, n.Tag == "!!int" || n.Tag == "!!float", "a number")
	}
}

// wantText takes every scalar of a YAML file: what looks like a number there
// (a client id, say) is text where text is wanted.
func (s *shape) wantText(n *yaml.Node) bool {
	return s.want(n, n.Kind == yaml.ScalarNode && (!s.doc.json || n.Tag == "!!str"), "text")
}

func (s *shape) want(n *yaml.Node, ok bool, what string) bool {
	if !ok {
		s.add(n, "want %s, got %s", what, describe(n))
	}
	return ok
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "an object"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!int" || n.Tag == "!!float":
		return "a number"
	case n.Tag == "!!bool":
		return "true or false"
	case n.Tag == "!!null":
		return "nothing"
	}
	return "text"
}

func (s *shape) checkStruct(n *yaml.Node, t reflect.Type) {
	if !s.want(n, n.Kind == yaml.MappingNode, "an object") {
		return
	}
	fields, others := fieldsOf(t)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if field, known := fields[k.Value]; known {
			s.check(v, field)
		} else if others != nil {
			s.check(v, others)
		} else if hint := nearest(k.Value, fields); hint != "" {
			s.add(k, "unknown key %q, did you mean %q?", clip(k.Value), hint)
		} else {
			s.add(k, "unknown key %q", clip(k.Value))
		}
	}
}

// structFields are what [addFields] found.
type structFields struct {
	fields map[string]reflect.Type
	others reflect.Type
}

// knownStructs holds structFields by reflect.Type. They are of code, so that there
// are few: thousands of providers are read by the same ones.
var knownStructs sync.Map

func fieldsOf(t reflect.Type) (fields map[string]reflect.Type, others reflect.Type) {
	if known, ok := knownStructs.Load(t); ok {
		s := known.(structFields)
		return s.fields, s.others
	}
	fields = map[string]reflect.Type{}
	others = addFields(fields, t)
	knownStructs.Store(t, structFields{fields, others})
	return fields, others
}

// addFields lists the keys of a struct as the library names them. It returns the
// type of all other keys' values, nil if there are no others.
func addFields(fields map[string]reflect.Type, t reflect.Type) (others reflect.Type) {
	for f := range t.Fields() {
		tag := f.Tag.Get("yaml")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-" || !f.IsExported() && !f.Anonymous:
		case strings.Contains(","+options+",", ",inline,"):
			switch inner := f.Type; inner.Kind() {
			case reflect.Struct:
				others = cmp.Or(addFields(fields, inner), others)
			case reflect.Pointer:
				others = cmp.Or(addFields(fields, inner.Elem()), others)
			case reflect.Map:
				others = inner.Elem()
			}
		case name != "":
			fields[name] = f.Type
		default:
			fields[strings.ToLower(f.Name)] = f.Type
		}
	}
	return others
}

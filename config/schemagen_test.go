package config

import (
	"encoding"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/provider"
)

// The generator of config/schema: keys, their nesting and their types are those
// of the structs that are decoded into; what a value may be is told by the table
// schemaValues; descriptions, defaults and what is required by the documentation.
//
// It is here and no package of its own because it needs the structs, and athd
// needs its output only.

// A schemaNode is a JSON Schema, as far as it is needed: draft-07.
type schemaNode struct {
	Dialect     string           `json:"$schema,omitzero"`
	Title       string           `json:"title,omitzero"`
	Description string           `json:"description,omitzero"`
	Type        []string         `json:"type,omitzero"`
	Default     any              `json:"default,omitempty"`
	Enum        []any            `json:"enum,omitzero"`
	Pattern     string           `json:"pattern,omitzero"`
	MinLength   int              `json:"minLength,omitzero"`
	Minimum     *int             `json:"minimum,omitzero"`
	Maximum     *int             `json:"maximum,omitzero"`
	MinItems    int              `json:"minItems,omitzero"`
	Items       *schemaNode      `json:"items,omitzero"`
	Properties  schemaProperties `json:"properties,omitzero"`
	Names       *schemaNode      `json:"propertyNames,omitzero"`
	Additional  any              `json:"additionalProperties,omitempty"` // false or a *schemaNode
	Required    []string         `json:"required,omitzero"`
	Not         *schemaNode      `json:"not,omitzero"`
	AnyOf       []*schemaNode    `json:"anyOf,omitzero"`
	AllOf       []*schemaNode    `json:"allOf,omitzero"`
	If          *schemaNode      `json:"if,omitzero"`
	Then        *schemaNode      `json:"then,omitzero"`
}

// schemaProperties keep the order of the struct's fields: editors propose keys
// in this order.
type schemaProperties []schemaProperty

type schemaProperty struct {
	name string
	of   *schemaNode
}

// schemaTypes are one type or several.
type schemaTypes []string

func (s schemaTypes) MarshalJSONTo(e *jsontext.Encoder) error {
	if len(s) == 1 {
		return e.WriteToken(jsontext.String(s[0]))
	}
	return json.MarshalEncode(e, []string(s))
}

func (p schemaProperties) MarshalJSONTo(e *jsontext.Encoder) error {
	if err := e.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, property := range p {
		if err := e.WriteToken(jsontext.String(property.name)); err != nil {
			return err
		}
		if err := json.MarshalEncode(e, property.of); err != nil {
			return err
		}
	}
	return e.WriteToken(jsontext.EndObject)
}

// A schemaMaker makes the schema of one file.
type schemaMaker struct {
	json bool           // numbers and booleans are no text
	rows map[string]row // by key, as the documentation names it
	of   func(path string) schemaValue
	// twins are the tutorial's spellings, by ours.
	twins map[string]string
}

func (m *schemaMaker) file(title string, root *schemaNode) []byte {
	root.Dialect, root.Title = "http://json-schema.org/draft-07/schema#", title
	out, err := json.Marshal(root, jsontext.WithIndent("  "), json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return append(out, '\n')
}

// object is the schema of a struct. prefix is that of its keys' paths.
func (m *schemaMaker) object(t reflect.Type, prefix string) *schemaNode {
	n := &schemaNode{Type: schemaTypes{"object", "null"}, Additional: false}
	m.addFields(n, t, prefix)
	for _, p := range n.Properties {
		path := prefix + p.name
		if twin := m.twins[path]; twin != "" {
			m.either(n, p.name, strings.TrimPrefix(twin, prefix), m.required(path, p.of))
		} else if m.required(path, p.of) && !m.isTwin(path) {
			n.Required = append(n.Required, p.name)
		}
	}
	if of := m.of(prefix); of.object != nil {
		of.object(n)
	}
	if len(n.Required) > 0 {
		n.Type = schemaTypes{"object"}
	}
	return n
}

// either says that a key has two spellings, of which one is given.
func (m *schemaMaker) either(n *schemaNode, ours, theirs string, required bool) {
	n.AllOf = append(n.AllOf, &schemaNode{Not: &schemaNode{Required: []string{ours, theirs}}})
	if required {
		n.Type = schemaTypes{"object"}
		n.AllOf = append(n.AllOf, &schemaNode{AnyOf: []*schemaNode{{Required: []string{ours}}, {Required: []string{theirs}}}})
	}
}

func (m *schemaMaker) isTwin(path string) bool {
	for _, theirs := range m.twins {
		if theirs == path {
			return true
		}
	}
	return false
}

// required reports whether a key must be there: because the documentation says so
// or because something below it must be.
func (m *schemaMaker) required(path string, of *schemaNode) bool {
	if len(of.Type) == 1 && of.Type[0] == "object" {
		return true
	}
	return m.row(path).fallback == "required" && !m.of(path).optional
}

// row returns what the documentation says of a key. The tutorial's spelling has
// the row of ours.
func (m *schemaMaker) row(path string) row {
	for ours, theirs := range m.twins {
		if theirs == path {
			path = ours
		}
	}
	return m.rows[path]
}

func (m *schemaMaker) addFields(n *schemaNode, t reflect.Type, prefix string) {
	for f := range t.Fields() {
		if !f.IsExported() && !f.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if options == "inline" {
			m.addFields(n, f.Type, prefix)
			continue
		}
		n.Properties = append(n.Properties, schemaProperty{name, m.value(f.Type, prefix+name)})
	}
}

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

// value is the schema of a key's value.
func (m *schemaMaker) value(t reflect.Type, path string) *schemaNode {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	r, of := m.row(path), m.of(m.ours(path))
	required := r.fallback == "required" && !of.optional
	var n *schemaNode
	switch _, alone := reflect.TypeAssert[yaml.Unmarshaler](reflect.New(t)); {
	case reflect.PointerTo(t).Implements(textType) || t.Kind() == reflect.String:
		n = m.text(of, required)
	case t.Kind() == reflect.Bool:
		n = &schemaNode{Type: schemaTypes{"boolean", "null"}}
	case t.Kind() == reflect.Int:
		n = &schemaNode{Type: schemaTypes{"integer", "null"}, Minimum: of.least, Maximum: of.most}
	case t.Kind() == reflect.Slice:
		n = m.list(t.Elem(), path, of, required)
		if alone {
			one := *n.Items
			n = &schemaNode{AnyOf: []*schemaNode{&one, n}}
		}
	case t.Kind() == reflect.Map:
		n = &schemaNode{Type: schemaTypes{"object", "null"}, Additional: m.text(schemaValue{}, false)}
	case t.Kind() == reflect.Struct:
		n = m.object(t, path+".")
		if alone {
			n = &schemaNode{AnyOf: []*schemaNode{n, {Enum: append(slices.Clone(of.enum), false, "")}, {Type: schemaTypes{"string"}, Pattern: `\$\{`}}}
		}
	default:
		panic(path + ": no schema for " + t.String())
	}
	n.Description = plain(r.meaning)
	n.Default = m.fallback(r.fallback, t)
	return n
}

func (m *schemaMaker) ours(path string) string {
	for ours, theirs := range m.twins {
		if theirs == path {
			return ours
		}
	}
	return path
}

// list is the schema of a list. A null is no entry of it.
func (m *schemaMaker) list(of reflect.Type, path string, value schemaValue, required bool) *schemaNode {
	n := &schemaNode{Type: schemaTypes{"array", "null"}}
	if of.Kind() == reflect.Struct {
		n.Items = m.object(of, path+"[].")
		n.Items.Type = schemaTypes{"object"}
		if _, alone := reflect.TypeAssert[yaml.Unmarshaler](reflect.New(of)); alone {
			n.Items = &schemaNode{AnyOf: []*schemaNode{m.text(value, true), n.Items}}
		}
	} else {
		n.Items = m.text(value, true)
	}
	if value.notEmpty {
		n.MinItems = 1
	}
	if required {
		n.Type, n.MinItems = schemaTypes{"array"}, 1
	}
	return n
}

// text is the schema of a text. Unless it is required an empty one or none is as
// good as none; and one with a variable of the environment can be anything.
func (m *schemaMaker) text(of schemaValue, required bool) *schemaNode {
	n, free := &schemaNode{Type: schemaTypes{"string", "null"}}, `^$|\$\{`
	if required {
		n.Type = schemaTypes{"string"}
	}
	if required || of.notEmptyText {
		free = `\$\{`
	}
	switch {
	case of.enum != nil:
		n.AnyOf = []*schemaNode{{Enum: of.enum}, {Pattern: free}}
		if !required {
			n.AnyOf = append(n.AnyOf, &schemaNode{Type: schemaTypes{"null"}})
		}
	case of.pattern != "":
		n.Pattern = "^(" + of.pattern + ")$|" + free
	case required && !of.maybeEmpty:
		n.MinLength = 1
	}
	if !m.json && !of.neverNumber {
		// YAML takes numbers and booleans for text, such as a client_id of digits.
		// The schema says only what is none: editors propose what is among the types.
		n.Type, n.Not = nil, &schemaNode{Type: schemaTypes{"array", "object"}}
		if required {
			n.Not.Type = append(n.Not.Type, "null")
		}
	}
	return n
}

// fallback is a default as the documentation quotes it, where it is a value.
func (m *schemaMaker) fallback(text string, t reflect.Type) any {
	quoted, opened := strings.CutPrefix(text, "`")
	quoted, closed := strings.CutSuffix(quoted, "`")
	if _, isKey := m.rows[quoted]; !opened || !closed || isKey || strings.ContainsAny(quoted, "{[`") {
		return nil
	}
	switch t.Kind() {
	case reflect.Bool:
		return quoted == "true"
	case reflect.Int:
		if n, err := strconv.Atoi(quoted); err == nil {
			return n
		}
		return nil
	}
	return quoted
}

var (
	link   = regexp.MustCompile(`\[([^\]]+)\]\([^)]*\)`)
	strong = regexp.MustCompile(`\*\*([^*]+)\*\*`)
)

// plain is a text of the documentation without links and stress.
func plain(markdown string) string {
	return strings.ReplaceAll(strong.ReplaceAllString(link.ReplaceAllString(markdown, "$1"), "$1"), `\|`, "|")
}

// configSchema makes the schema of athd.yaml.
func configSchema(rows map[string]row, twins map[string]string) []byte {
	m := &schemaMaker{rows: rows, twins: map[string]string{}, of: func(path string) schemaValue { return schemaValues[path] }}
	for theirs, ours := range twins {
		m.twins[ours] = theirs
	}
	return m.file("athd.yaml", m.object(reflect.TypeFor[yamlConfig](), ""))
}

// providersSchema makes the schema of providers.json. What its entries have in
// common with apps is described there.
func providersSchema(own, config map[string]row) []byte {
	rows := map[string]row{}
	for f := range fields(reflect.TypeFor[provider.FileConfig]()) {
		for _, from := range []string{"apps[].oauth.", "apps[]."} {
			for key, r := range config {
				if key == from+f || strings.HasPrefix(key, from+f+"[].") || strings.HasPrefix(key, from+f+".") {
					rows[strings.TrimPrefix(key, from)] = r
				}
			}
		}
		if r, ok := own[f]; ok {
			rows[f] = r
		}
	}
	m := &schemaMaker{json: true, rows: rows, of: func(path string) schemaValue {
		for _, from := range []string{"providers.", "apps[].oauth.", "apps[]."} {
			if v, ok := schemaValues[from+path]; ok {
				return v
			}
		}
		return schemaValue{}
	}}
	entry := m.object(reflect.TypeFor[provider.FileConfig](), "")
	entry.Description = "One provider: an API of somebody else's, and the OAuth server that grants access to it. Its name is the provider's id."
	return m.file("providers.json of athd", &schemaNode{
		Type: schemaTypes{"object", "null"}, Properties: schemaProperties{{"$schema", &schemaNode{Type: schemaTypes{"string", "null"}, Description: "By what an editor checks this file. athd does not look at it."}}}, Names: &schemaNode{Pattern: "^([a-z0-9][a-z0-9_-]{0,62}|\\$schema)$", Not: &schemaNode{Enum: []any{provider.DefaultName}}}, Additional: entry,
	})
}

// fields lists the keys of a struct.
func fields(t reflect.Type) map[string]bool {
	all := map[string]bool{}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if options == "inline" {
			for name := range fields(f.Type) {
				all[name] = true
			}
			continue
		}
		all[name] = true
	}
	return all
}

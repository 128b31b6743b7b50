package into

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A document is a configuration as text and as a tree, whose nodes say in which
// line they begin.
type document struct {
	lines []string // with their ends
	eol   string
	root  *yaml.Node
	used  map[*yaml.Node]int // the line of an alias that stands for a node
}

// maxNodes bounds a tree, aliases followed.
const maxNodes = 1 << 20

func parse(lines []string) (*document, error) {
	d := &document{lines: lines, eol: "\n", used: map[*yaml.Node]int{}}
	if len(lines) > 0 && strings.HasSuffix(lines[0], "\r\n") {
		d.eol = "\r\n"
	}
	text := join(lines)
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		return nil, refuse(0, "it is JSON, or YAML in one pair of braces, in which athd's parts cannot be marked", "write it as YAML, one setting a line, or "+byHand)
	}
	var n yaml.Node
	if err := yaml.Load([]byte(text), &n); err != nil {
		line := 0
		if e := (*yaml.LoadError)(nil); errors.As(err, &e) {
			line = e.Mark.Line
		}
		return nil, refuse(line, "it is no YAML that Envoy can read: "+strings.ReplaceAll(err.Error(), "\n", " "), "see what envoy --mode validate says of it")
	}
	if n.Kind != yaml.DocumentNode || len(n.Content) != 1 || n.Content[0].Kind != yaml.MappingNode {
		return nil, refuse(0, "it is no configuration of Envoy's", "name the file that envoy -c reads")
	}
	d.root = n.Content[0]
	count := 0
	return d, d.look(d.root, &count, 0)
}

// look refuses what Envoy would, where athd might read it otherwise.
func (d *document) look(n *yaml.Node, count *int, depth int) error {
	if *count++; *count > maxNodes || depth > 200 {
		return refuse(n.Line, "it is nested too deeply, or its aliases stand for too much", byHand)
	}
	if n.Kind == yaml.AliasNode {
		d.used[n.Alias] = n.Line
		return d.look(n.Alias, count, depth+1)
	}
	seen := map[string]int{}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			switch {
			case c.Kind != yaml.ScalarNode:
				return refuse(c.Line, "a key is not a word", "if this is a template, render it first; else see what envoy --mode validate says of it")
			case c.Value == "<<" && c.Style == 0:
				return refuse(c.Line, "merge keys (<<) are nothing that Envoy reads", "write out what is merged")
			case seen[c.Value] > 0:
				return refuse(c.Line, fmt.Sprintf("%q is there already, in line %d", short(c.Value), seen[c.Value]), "leave one of them")
			}
			seen[c.Value] = max(c.Line, 1)
		}
		if err := d.look(c, count, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func short(s string) string {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return strings.ToValidUTF8(s, "")
}

// A spot is a node, and whether other places have it, too.
type spot struct {
	*yaml.Node
	in     *document
	shared int // the line of an alias or an anchor through which it is reached; 0: none
}

func (d *document) spot(n *yaml.Node, shared int) spot {
	if n.Kind == yaml.AliasNode {
		return spot{n.Alias, d, n.Line}
	}
	if d != nil && d.used[n] > 0 {
		shared = n.Line
	}
	return spot{n, d, shared}
}

func (s spot) there() bool { return s.Node != nil }

// index is where a key stands among the members, or -1. Envoy takes names as in
// its proto files or in camel case.
func (s spot) index(name string) int {
	if s.Node == nil || s.Kind != yaml.MappingNode {
		return -1
	}
	for i := 0; i+1 < len(s.Content); i += 2 {
		if key := s.Content[i].Value; key == name || key == camel(name) {
			return i
		}
	}
	return -1
}

func camel(name string) string {
	var b strings.Builder
	for i, word := range strings.Split(name, "_") {
		if i > 0 && word != "" {
			word = strings.ToUpper(word[:1]) + word[1:]
		}
		b.WriteString(word)
	}
	return b.String()
}

// get follows names; what is not there, or null, is the zero spot.
func (s spot) get(names ...string) spot {
	for _, name := range names {
		i := s.index(name)
		if i < 0 {
			return spot{}
		}
		s = s.in.spot(s.Content[i+1], s.shared)
		if s.Kind == yaml.ScalarNode && s.Tag == "!!null" {
			return spot{}
		}
	}
	return s
}

func (s spot) text(names ...string) string {
	if v := s.get(names...); v.there() && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

// items are the elements of a list.
func (s spot) items() []spot {
	if s.Node == nil || s.Kind != yaml.SequenceNode {
		return nil
	}
	out := make([]spot, len(s.Content))
	for i, n := range s.Content {
		out[i] = s.in.spot(n, s.shared)
	}
	return out
}

// is reports whether a filter, or whatever has a typed_config, is of a kind: the
// end of the name of a message.
func (s spot) is(kind string) bool {
	return strings.HasSuffix(s.text("typed_config", "@type"), "."+kind)
}

// named returns the first element of a list that has a name.
func named(list []spot, name string) spot {
	if i := slices.IndexFunc(list, func(s spot) bool { return s.text("name") == name }); i >= 0 {
		return list[i]
	}
	return spot{}
}

// list wants a list with elements to which lines can be added.
func (s spot) list(what string) error { return s.editable(what, yaml.SequenceNode) }

// object wants members to which lines can be added.
func (s spot) object(what string) error { return s.editable(what, yaml.MappingNode) }

func (s spot) editable(what string, kind yaml.Kind) error {
	switch {
	case s.Kind != kind:
		return refuse(s.Line, what+" is not what Envoy wants there", "see what envoy --mode validate says of it")
	case s.shared > 0:
		return refuse(s.shared, what+" is shared by an anchor (&) and an alias (*): what is added there would be in other places too", "write it out where agents come in")
	case s.Style&yaml.FlowStyle != 0 || len(s.Content) == 0:
		return refuse(s.Line, what+" is written in braces or brackets, to which no marked lines can be added", "write it one element a line, or "+byHand)
	}
	return nil
}

package into

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A plan is what is to be done to a document. The tree is changed when all is
// planned, so that until then its nodes say where they are.
type plan struct {
	*document
	config   Config
	parts    parts
	inserted map[int][]string // lines with their ends, by the line before which they go
	changed  map[int][]change // by line
	braces   []*yaml.Node     // that got a member in their line
	placed   []placed
	own      []piece  // virtual hosts of athd's own
	later    []func() // what the changes make of the tree
	notes    []Note
}

// A change is one within a line.
type change struct {
	at, end int // bytes
	text    string
}

func (p *plan) note(line int, format string, args ...any) {
	p.notes = append(p.notes, Note{line, fmt.Sprintf(format, args...)})
}

// add plans marked lines before a line, at a depth.
func (p *plan) add(before, depth int, lines []string) {
	begin := strings.Repeat(" ", depth)
	add := func(line string) { p.inserted[before] = append(p.inserted[before], begin+line+p.eol) }
	add(titleAdded)
	for _, line := range lines {
		if line == "" {
			p.inserted[before] = append(p.inserted[before], p.eol)
			continue
		}
		add(line)
	}
	add(markEnd)
}

// addItems plans elements before one of a list, or at its end.
func (p *plan) addItems(list spot, before int, items []piece) error {
	if len(items) == 0 {
		return nil
	}
	depth := list.Column - 1
	var at int
	if before == len(list.Content) {
		at = p.behind(list.Content[before-1], depth)
	} else {
		dash := p.dash(list.Content[before].Line-1, depth)
		if dash < 0 {
			return p.unclear(list.Content[before])
		}
		at = p.above(dash, depth)
	}
	var lines []string
	for _, one := range items {
		lines = append(lines, one.lines...)
	}
	p.add(at, depth, lines)
	var follows *yaml.Node
	if before < len(list.Content) {
		follows = list.Content[before]
	}
	p.later = append(p.later, func() {
		i := len(list.Content)
		if follows != nil {
			i = slices.Index(list.Content, follows)
		}
		for _, one := range items {
			list.Content = slices.Insert(list.Content, i, one.value)
			i++
		}
	})
	return nil
}

// dash finds the line, at or above one, in which an element of a list begins.
func (p *plan) dash(line, depth int) int {
	for ; line >= 0; line-- {
		text := p.lines[line]
		if indent(text) == depth && text[depth] == '-' {
			return line
		}
		if in := indent(text); in >= 0 && in < depth {
			break
		}
	}
	return -1
}

// addMembers plans members before the one with an index, or at the end. They go
// behind the first one where that stands behind the dash of a list.
func (p *plan) addMembers(object spot, before int, members []piece) error {
	if len(members) == 0 {
		return nil
	}
	depth := object.Content[0].Column - 1
	if before == 0 && indent(p.lines[object.Content[0].Line-1]) != depth {
		before = 2
	}
	var at int
	var follows *yaml.Node
	if before >= len(object.Content) {
		at = p.behind(object.Content[len(object.Content)-1], depth)
	} else {
		follows = object.Content[before]
		at = p.above(follows.Line-1, depth)
	}
	var lines []string
	for _, one := range members {
		lines = append(lines, one.lines...)
	}
	p.add(at, depth, lines)
	p.later = append(p.later, func() {
		i := len(object.Content)
		if follows != nil {
			i = slices.Index(object.Content, follows)
		}
		for _, one := range members {
			object.Content = slices.Insert(object.Content, i, one.key, one.value)
			i += 2
		}
	})
	return nil
}

// addShort plans one member of an object in braces, in its line.
func (p *plan) addShort(object spot, what, member string) error {
	at := object.Line - 1
	begin := column(p.lines[at], object.Column)
	if object.shared > 0 {
		return object.object(what)
	}
	line := bare(p.lines[at])
	if begin >= len(line) || line[begin] != '{' {
		return p.unclear(object.Node)
	}
	pair, err := parsed("{" + member + "}")
	if err != nil {
		return err
	}
	if len(object.Content) > 0 || slices.Contains(p.braces, object.Node) {
		member += ", "
	}
	p.braces = append(p.braces, object.Node)
	p.changed[at] = append(p.changed[at], change{begin + 1, begin + 1, member})
	p.later = append(p.later, func() { object.Content = append(slices.Clone(pair.Content), object.Content...) })
	return nil
}

// replace plans another value for one that stands in one line.
func (p *plan) replace(s spot, what, value string) error {
	if s.Kind != yaml.ScalarNode || s.shared > 0 {
		return s.object(what)
	}
	at := s.Line - 1
	line := bare(p.lines[at])
	begin := column(line, s.Column)
	for _, quote := range []string{"", "'", `"`} {
		if raw := quote + s.Value + quote; strings.HasPrefix(line[min(begin, len(line)):], raw) {
			p.changed[at] = append(p.changed[at], change{begin, begin + len(raw), value})
			p.later = append(p.later, func() { s.Value, s.Tag = value, "" })
			return nil
		}
	}
	return p.unclear(s.Node)
}

func (p *plan) unclear(n *yaml.Node) error {
	return refuse(n.Line, "what is written here is too unusual to be changed safely", "write it one setting a line, or "+byHand)
}

// render returns the text as planned, and for each line where it is now.
func (p *plan) render() (text string, moved []int) {
	var out []string
	moved = make([]int, len(p.lines))
	ended := len(p.lines) == 0 || strings.HasSuffix(p.lines[len(p.lines)-1], "\n")
	for i, line := range p.lines {
		out = append(out, p.inserted[i]...)
		if !strings.HasSuffix(line, "\n") {
			line += p.eol
		}
		changes := p.changed[i]
		if len(changes) == 0 {
			moved[i] = len(out)
			out = append(out, line)
			continue
		}
		slices.SortStableFunc(changes, func(a, b change) int { return b.at - a.at })
		begin := strings.Repeat(" ", max(indent(line), 0))
		end := line[len(bare(line)):]
		now := bare(line)
		for _, c := range changes {
			now = now[:c.at] + c.text + now[c.end:]
		}
		moved[i] = len(out) + 2
		out = append(out, begin+titleChanged+p.eol, begin+markWas+bare(line)+end, now+end, begin+markEnd+p.eol)
	}
	out = append(out, p.inserted[len(p.lines)]...)
	if !ended {
		out[len(out)-1] = bare(out[len(out)-1])
	}
	return join(out), moved
}

// check holds what was made against what was planned: the tree of the text, as it
// was, with athd's parts and nothing else. So a place that was misread changes
// nothing.
func (p *plan) check(text string) error {
	const next = byHand + "; and tell athd's developers of this file"
	if base, _, err := read([]byte(text)); err != nil || !bytes.Equal([]byte(join(base)), []byte(join(p.lines))) {
		return refuse(0, "the file cannot be edited so that the rest of it stays as it is", next)
	}
	tree, err := parsed(text)
	if err != nil {
		return refuse(0, "the file cannot be edited: "+err.Error(), next)
	}
	for _, do := range p.later {
		do()
	}
	if at := differs(p.root, tree, 0); at != nil {
		return refuse(at.Line, "the file is written too unusually to be edited safely", next)
	}
	return nil
}

// differs returns a node of want that is another one in got, or nil.
func differs(want, got *yaml.Node, depth int) *yaml.Node {
	if want.Kind != got.Kind || want.Value != got.Value || want.Anchor != got.Anchor || len(want.Content) != len(got.Content) ||
		want.Tag != "" && want.ShortTag() != got.ShortTag() || depth > 1000 {
		return want
	}
	for i, c := range want.Content {
		if at := differs(c, got.Content[i], depth+1); at != nil {
			return at
		}
	}
	return nil
}

func parsed(text string) (*yaml.Node, error) {
	var n yaml.Node
	if err := yaml.Load([]byte(text), &n); err != nil {
		return nil, err
	}
	if len(n.Content) != 1 {
		return nil, fmt.Errorf("envoy: no YAML: %q", short(text))
	}
	return n.Content[0], nil
}

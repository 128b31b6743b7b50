package into

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/envoy/bootstrap"
)

// A piece is a member of an object, or an element of a list, as athd bootstrap
// prints it.
type piece struct {
	key, value *yaml.Node // key: nil of elements
	lines      []string   // with the comments above it, without line ends, from column 0
}

// parts are what athd bootstrap prints.
type parts struct {
	clusters []piece
	settings []piece // of the connection manager, but for its filters
	filters  []piece // but for the router
	hosts    []host
}

// A host is a virtual host that athd prints.
type host struct {
	piece
	name, domain string
	routes       []piece
}

func printed(c bootstrap.Config) (parts, error) {
	var out parts
	clusters, err := pieces(c, bootstrap.Clusters)
	if err != nil {
		return out, err
	}
	out.clusters = clusters[0].children()
	settings, err := pieces(c, bootstrap.Filters)
	if err != nil {
		return out, err
	}
	for _, one := range settings {
		if one.key.Value != "http_filters" {
			out.settings = append(out.settings, one)
			continue
		}
		all := one.children()
		out.filters = all[:len(all)-1]
	}
	routes, err := pieces(c, bootstrap.Routes)
	if err != nil {
		return out, err
	}
	for _, one := range routes {
		if one.key.Value != "virtual_hosts" {
			continue
		}
		for _, item := range one.children() {
			h := host{piece: item}
			for _, member := range item.children() {
				switch member.key.Value {
				case "name":
					h.name = member.value.Value
				case "domains":
					h.domain = member.value.Content[0].Value
				case "routes":
					h.routes = member.children()
				}
			}
			out.hosts = append(out.hosts, h)
		}
	}
	return out, nil
}

// pieces are the members of what is printed of one part.
func pieces(c bootstrap.Config, part bootstrap.Part) ([]piece, error) {
	text, err := bootstrap.PrintBare(c, part)
	if err != nil {
		return nil, err
	}
	root, err := parsed(string(text))
	if err != nil {
		return nil, fmt.Errorf("envoy: what was printed cannot be read: %w", err)
	}
	whole := piece{value: root, lines: strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")}
	return whole.children(), nil
}

// children are the members or elements of a piece, whose value is in block
// style. The lines of a child's nodes count from its own first line.
func (p piece) children() []piece {
	n, step := p.value, 2
	if n.Kind == yaml.SequenceNode {
		step = 1
	}
	depth := n.Column - 1
	if step == 2 {
		depth = n.Content[0].Column - 1
	}
	begin := func(i int) int {
		at := n.Content[i].Line - 1
		for at > 0 && isComment(p.lines[at-1]) && indent(p.lines[at-1]) == depth {
			at--
		}
		return at
	}
	var out []piece
	for i := 0; i < len(n.Content); i += step {
		from, to := begin(i), len(p.lines)
		if i+step < len(n.Content) {
			to = begin(i + step)
		}
		one := piece{value: shifted(n.Content[i], from, depth)}
		if step == 2 {
			one.key, one.value = one.value, shifted(n.Content[i+1], from, depth)
		}
		for j, line := range p.lines[from:to] {
			if j == 0 || len(line) >= depth { // the first may stand behind a dash
				line = line[min(depth, len(line)):]
			}
			one.lines = append(one.lines, line)
		}
		out = append(out, one)
	}
	return out
}

// member is a piece of one line.
func member(name, value string) (piece, error) {
	line := name + ": " + value
	n, err := parsed(line)
	if err != nil {
		return piece{}, err
	}
	return piece{n.Content[0], n.Content[1], []string{line}}, nil
}

// says is a piece with a comment above it.
func (p piece) says(comment string) piece {
	p.lines = append([]string{comment}, p.lines...)
	return p
}

// shifted is a node like another one, which says that it is elsewhere.
func shifted(n *yaml.Node, lines, columns int) *yaml.Node {
	out := *n
	out.Line -= lines
	out.Column -= columns
	out.Content = make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		out.Content[i] = shifted(c, lines, columns)
	}
	return &out
}

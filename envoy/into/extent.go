package into

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

// indent is how many spaces a line begins with; -1 for an empty one.
func indent(line string) int {
	line = bare(line)
	trimmed := strings.TrimLeft(line, " ")
	if strings.TrimSpace(trimmed) == "" {
		return -1
	}
	return len(line) - len(trimmed)
}

func isComment(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "#") }

// last returns the last line of a node, from 0. Where it is wrong, about text
// that is written in an uncommon way, check tells.
func (d *document) last(n *yaml.Node) int {
	at := n.Line - 1
	switch {
	case at < 0 || at >= len(d.lines):
		return len(d.lines) - 1
	case n.Kind == yaml.AliasNode:
		return at
	case n.Kind == yaml.ScalarNode && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return d.lastOfBlock(at)
	case n.Kind == yaml.ScalarNode && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0, n.Kind != yaml.ScalarNode && n.Style&yaml.FlowStyle != 0:
		return d.lastOfFlow(at, column(d.lines[at], n.Column))
	case n.Kind == yaml.ScalarNode:
		return d.lastOfPlain(at, n)
	}
	for _, c := range n.Content {
		at = max(at, d.last(c))
	}
	return at
}

// column returns the byte at which a column of a line is.
func column(line string, column int) int {
	for i := range line {
		if column--; column == 0 {
			return i
		}
	}
	return len(line)
}

// lastOfBlock is of a literal or folded text that begins in a line.
func (d *document) lastOfBlock(at int) int {
	end, deep := at, -1
	for i := at + 1; i < len(d.lines); i++ {
		in := indent(d.lines[i])
		if in < 0 {
			continue
		}
		if deep < 0 {
			deep = in
			if deep <= indent(d.lines[at]) {
				break
			}
		}
		if in < deep {
			break
		}
		end = i
	}
	return end
}

// lastOfFlow is of what stands in quotes, braces or brackets.
func (d *document) lastOfFlow(at, from int) int {
	var quote byte
	depth := 0
	for i := at; i < len(d.lines); i++ {
		line := bare(d.lines[i])
		for j := from; j < len(line); j++ {
			c := line[j]
			switch {
			case quote == '"' && c == '\\':
				j++
			case quote != 0 && c == quote:
				if quote = 0; depth == 0 {
					return i
				}
			case quote != 0:
			case (c == '"' || c == '\'') && (j == 0 || j == from || strings.IndexByte(" \t,[{:", line[j-1]) >= 0):
				quote = c
			case c == '#' && j > 0 && (line[j-1] == ' ' || line[j-1] == '\t'):
				j = len(line)
			case c == '[' || c == '{':
				depth++
			case c == ']' || c == '}':
				if depth--; depth <= 0 {
					return i
				}
			}
		}
		from = 0
	}
	return len(d.lines) - 1
}

// lastOfPlain is of text without quotes, which goes on as long as its words do.
func (d *document) lastOfPlain(at int, n *yaml.Node) int {
	words := len(strings.Fields(n.Value))
	line := bare(d.lines[at])
	for i, from := at, column(line, n.Column); ; from = 0 {
		text := line[min(from, len(line)):]
		if cut := strings.Index(text, " #"); cut >= 0 {
			text = text[:cut]
		}
		if words -= len(strings.Fields(text)); words <= 0 || i+1 == len(d.lines) {
			return i
		}
		i++
		line = bare(d.lines[i])
	}
}

// behind returns the line, from 0, before which something may be added behind a
// node at a depth: comments that are deeper belong to the node.
func (d *document) behind(n *yaml.Node, depth int) int {
	at := d.last(n) + 1
	for at < len(d.lines) && isComment(d.lines[at]) && indent(d.lines[at]) > depth {
		at++
	}
	return at
}

// above returns the line before which something may be added before a line at a
// depth: comments that are not deeper belong to it.
func (d *document) above(at, depth int) int {
	for at > 0 && isComment(d.lines[at-1]) && indent(d.lines[at-1]) <= depth {
		at--
	}
	return at
}

package strict

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Pointer is the JSON Pointer (RFC 6901) of a path: keys (string) and list indexes
// (int) from the root. A long key is cut, as it is in messages.
func Pointer(path ...any) string {
	var b strings.Builder
	for _, step := range path {
		b.WriteByte('/')
		switch step := step.(type) {
		case string:
			b.WriteString(escapePointer.Replace(clip(step)))
		case int:
			b.WriteString(strconv.Itoa(step))
		}
	}
	return b.String()
}

var escapePointer = strings.NewReplacer("~", "~0", "/", "~1")

// point gives faults that were found by their line the pointer of what stands
// there.
func (d *Document) point(faults Faults) Faults {
	if !d.json || len(faults) == 0 || d.root == nil {
		return faults
	}
	at := map[position]string{}
	d.pointers(d.root, "", 0, at)
	for i := range faults {
		if f := &faults[i]; f.Pointer == "" {
			f.Pointer = at[position{f.Line, f.Column}]
		}
	}
	return faults
}

// pointers maps where keys and values stand to their pointers.
func (d *Document) pointers(n *yaml.Node, pointer string, depth int, at map[position]string) {
	at[position{n.Line, n.Column}] = pointer
	if depth > maxDepth {
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, below := n.Content[i], pointer+Pointer(n.Content[i].Value)
			at[position{k.Line, k.Column}] = below
			d.pointers(n.Content[i+1], below, depth+1, at)
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			d.pointers(item, pointer+Pointer(i), depth+1, at)
		}
	}
}

package strict

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Limits of a file. Whoever reads one should stop at MaxBytes+1.
const (
	MaxBytes = 1 << 20
	maxDepth = 32
)

// A Document is a file that was read, with the place of each value. The zero value
// is an empty file.
type Document struct {
	file     string
	root     *yaml.Node // nil: nothing could be read
	json     bool
	expanded map[*yaml.Node]bool // values that Expand has replaced
	faulty   map[position]bool   // places of reported faults
}

type position struct{ line, column int }

// YAML decodes one YAML document into v, a pointer. The document is never
// nil. When there are faults, v holds what could be read all the same, so
// that further checks can add theirs.
//
// Beyond what YAML forbids it refuses several documents, keys given twice,
// anchors, aliases and merge keys, explicit tags, empty list entries, more
// than [MaxBytes] and more than 32 levels.
func YAML(file string, data []byte, v any) (*Document, Faults) {
	d := &Document{file: file}
	if faults := d.checkBytes(data); faults != nil {
		return d, faults
	}
	var root yaml.Node
	if err := yaml.Load(data, &root); err != nil {
		return d, d.yamlFaults(err)
	}
	d.root = &root
	if root.Kind == yaml.DocumentNode {
		if len(root.Content) != 1 {
			return d, Faults{d.at(nil, "the file is empty")}
		}
		d.root = root.Content[0]
	}
	return d, d.decode(d.root, v)
}

// JSON decodes one JSON value into v, as [YAML] does. It refuses what follows
// the value, members given twice, more than [MaxBytes] and more than 32
// levels; a number or a boolean is not text.
func JSON(file string, data []byte, v any) (*Document, Faults) {
	d := &Document{file: file, json: true}
	if faults := d.checkBytes(data); faults != nil {
		return d, faults
	}
	root, fault := parseJSON(file, data)
	if fault != nil {
		return d, Faults{*fault}
	}
	d.root = root
	return d, d.decode(d.root, v)
}

func (d *Document) checkBytes(data []byte) Faults {
	switch {
	case len(data) > MaxBytes:
		return Faults{d.at(nil, fmt.Sprintf("the file is larger than %d bytes", MaxBytes))}
	case !utf8.Valid(data):
		return Faults{d.at(nil, "the file is not UTF-8 text")}
	}
	return nil
}

// decode checks the shape of n first, with messages of its own, and lets the library
// decode what is sound. What only the library finds (a number out of range,
// a TextUnmarshaler's refusal) is added.
func (d *Document) decode(n *yaml.Node, v any) Faults {
	s := shape{doc: d}
	if !s.checkStyle(n, 0) {
		return d.report(s.faults) // decoding could be unbounded
	}
	s.checkTarget(n, v)
	// Keys given twice have been refused above; the library would compare each
	// key with each other.
	err := n.Load(v, yaml.WithKnownFields(), yaml.WithUniqueKeys(false))
	known := map[position]bool{}
	for _, f := range s.faults {
		known[position{f.Line, f.Column}] = true
	}
	for _, f := range d.yamlFaults(err) {
		if !known[position{f.Line, f.Column}] {
			s.faults = append(s.faults, f)
		}
	}
	return d.report(s.faults)
}

// report sorts the faults, drops those of places that already have one, and
// remembers the others for Faulty.
func (d *Document) report(faults Faults) Faults {
	faults = slices.DeleteFunc(faults.Sort(), func(f Fault) bool { return d.faulty[position{f.Line, f.Column}] })
	if d.faulty == nil {
		d.faulty = map[position]bool{}
	}
	for _, f := range faults {
		d.faulty[position{f.Line, f.Column}] = true
	}
	return d.point(faults)
}

// yamlFaults translates the library's errors. Only texts of its scanner and
// parser are passed on: those of later stages quote values.
func (d *Document) yamlFaults(err error) Faults {
	if err == nil {
		return nil
	}
	var list []*yaml.LoadError
	if all, ok := errors.AsType[*yaml.LoadErrors](err); ok {
		list = all.Errors
	} else if one, ok := errors.AsType[*yaml.LoadError](err); ok {
		list = []*yaml.LoadError{one}
	}
	if len(list) == 0 {
		if errors.Is(err, io.EOF) {
			return Faults{d.at(nil, "the file is empty")}
		}
		return Faults{d.at(nil, "the file cannot be read")}
	}
	var faults Faults
	for _, e := range list {
		f := Fault{File: d.file, Line: e.Mark.Line, Column: e.Mark.Column}
		switch e.Stage {
		case yaml.ReaderStage, yaml.ScannerStage, yaml.ParserStage:
			f.Message = "not valid YAML: " + e.Message
		case yaml.ComposerStage:
			f.Message = "anchors and aliases are not used here: put a value that starts with * or & in quotes"
		case yaml.ResolverStage:
			f.Message = "tags are not used here: put a value that starts with ! in quotes"
		default:
			f.Message = "not a valid value"
			if f.Line == 0 {
				// The library tells this apart by text only.
				f.Message = "the file is empty or contains more than one document"
			}
		}
		faults = append(faults, f)
	}
	return faults
}

// File returns the name that the document was read under.
func (d *Document) File() string { return d.file }

// At returns the line and column of what stands at path: keys (string) and
// list indexes (int) from the root. For a member of an object that is where
// its key stands. Where nothing stands, it is the nearest ancestor's place.
func (d *Document) At(path ...any) (line, column int) {
	f := d.at(path, "")
	return f.Line, f.Column
}

// Fault returns a fault at the place of path; see [Document.At].
func (d *Document) Fault(message string, path ...any) Fault { return d.at(path, message) }

// Has reports whether something, even null, stands at path.
func (d *Document) Has(path ...any) bool {
	_, _, ok := d.find(path)
	return ok
}

// Faulty reports whether decoding or expanding found a fault in the value at
// path, so that a further check of it would only repeat that.
func (d *Document) Faulty(path ...any) bool {
	_, n, ok := d.find(path)
	return ok && d.faultyNode(n)
}

func (d *Document) faultyNode(n *yaml.Node) bool {
	return d.faulty[position{n.Line, n.Column}] || slices.ContainsFunc(n.Content, d.faultyNode)
}

func (d *Document) at(path []any, message string) Fault {
	f := Fault{File: d.file, Message: message}
	if d.json {
		f.Pointer = Pointer(path...)
	}
	if place, _, _ := d.find(path); place != nil {
		f.Line, f.Column = place.Line, place.Column
	}
	return f
}

// find walks along path as far as it leads. place is where the last thing
// found stands, value is what it is, ok tells whether the path's end was met.
func (d *Document) find(path []any) (place, value *yaml.Node, ok bool) {
	place, value = d.root, d.root
	if d.root == nil {
		return nil, nil, false
	}
	for _, step := range path {
		k, v := child(value, step)
		if v == nil {
			return place, value, false
		}
		place, value = k, v
	}
	return place, value, true
}

func child(n *yaml.Node, step any) (place, value *yaml.Node) {
	switch step := step.(type) {
	case int:
		if n.Kind == yaml.SequenceNode && step >= 0 && step < len(n.Content) {
			return n.Content[step], n.Content[step]
		}
	case string:
		if n.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					return n.Content[i], n.Content[i+1]
				}
			}
		}
	}
	return nil, nil
}

package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// parseJSON builds the tree that the YAML library would have built. The YAML parser
// itself is not used for JSON: it allows no tabs as indentation and has other
// escapes.
func parseJSON(file string, data []byte) (*yaml.Node, *Fault) {
	p := &jsonParser{file: file, data: data, line: 1, column: 1}
	// The whole is checked first, so that tokens cannot surprise later.
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		offset := int64(len(data))
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok && !strings.HasPrefix(syntax.Error(), "unexpected end") {
			offset = max(syntax.Offset-1, 0)
		}
		if len(bytes.TrimSpace(data)) == 0 {
			return nil, &Fault{File: file, Message: "the file is empty"}
		}
		return nil, p.fault(offset, "not valid JSON: "+err.Error())
	}
	p.dec = json.NewDecoder(bytes.NewReader(data))
	p.dec.UseNumber()
	return p.value(0)
}

type jsonParser struct {
	file string
	data []byte
	dec  *json.Decoder
	// The position up to which lines have been counted.
	offset       int64
	line, column int
}

// fault says where in the data something is wrong.
func (p *jsonParser) fault(offset int64, message string) *Fault {
	p.advance(offset)
	return &Fault{File: p.file, Line: p.line, Column: p.column, Message: message}
}

// advance counts lines and columns up to offset. It never goes back.
func (p *jsonParser) advance(offset int64) {
	for p.offset < min(offset, int64(len(p.data))) {
		r, size := utf8.DecodeRune(p.data[p.offset:])
		p.offset += int64(size)
		if p.column++; r == '\n' {
			p.line, p.column = p.line+1, 1
		}
	}
}

// next reads a token and leaves the position at its first character.
func (p *jsonParser) next() (json.Token, *Fault) {
	start := p.dec.InputOffset()
	for start < int64(len(p.data)) && strings.IndexByte(" \t\r\n,:", p.data[start]) >= 0 {
		start++
	}
	p.advance(start)
	token, err := p.dec.Token()
	if err != nil {
		return nil, p.fault(start, "not valid JSON")
	}
	return token, nil
}

func (p *jsonParser) value(depth int) (*yaml.Node, *Fault) {
	token, fault := p.next()
	if fault != nil {
		return nil, fault
	}
	return p.valueOf(token, depth)
}

func (p *jsonParser) valueOf(token json.Token, depth int) (*yaml.Node, *Fault) {
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: p.line, Column: p.column}
	if depth > maxDepth {
		return nil, &Fault{File: p.file, Line: n.Line, Column: n.Column, Message: tooDeep}
	}
	switch t := token.(type) {
	case nil:
		n.Tag, n.Value = "!!null", "null"
	case bool:
		n.Tag, n.Value = "!!bool", fmt.Sprint(t)
	case string:
		n.Tag, n.Value, n.Style = "!!str", t, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!int", t.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case json.Delim:
		if t == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
			return n, p.list(n, depth)
		}
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		return n, p.object(n, depth)
	}
	return n, nil
}

func (p *jsonParser) list(n *yaml.Node, depth int) *Fault {
	for p.dec.More() {
		item, fault := p.value(depth + 1)
		if fault != nil {
			return fault
		}
		n.Content = append(n.Content, item)
	}
	return p.close()
}

func (p *jsonParser) object(n *yaml.Node, depth int) *Fault {
	for p.dec.More() {
		key, fault := p.value(depth + 1)
		if fault != nil {
			return fault
		}
		item, fault := p.value(depth + 1)
		if fault != nil {
			return fault
		}
		n.Content = append(n.Content, key, item)
	}
	return p.close()
}

func (p *jsonParser) close() *Fault {
	if _, err := p.dec.Token(); err != nil && !errors.Is(err, io.EOF) {
		return p.fault(p.dec.InputOffset(), "not valid JSON")
	}
	return nil
}

package strict

import (
	"fmt"
	"slices"
	"strings"
)

// A Checker collects what is wrong with the values of a document, after they
// were decoded. Paths are those of [Document.At], below Base.
type Checker struct {
	Doc    *Document
	Base   []any       // leads to what is checked; no message repeats it
	Warn   func(Fault) // is given each warning; nil: they are dropped
	Faults Faults
	// Bare leaves the path out of messages: for readers who have [Fault].Pointer.
	Bare bool
}

// Fail adds a fault of the value at path, whose message begins with the path's
// [Label]. It adds nothing where decoding has already found a fault in the value.
// The message must not contain the value: it may be a secret in the wrong place.
// Without a path it is a fault of all that is checked.
func (c *Checker) Fail(message string, path ...any) {
	if fault, ok := c.fault(message, path); ok {
		c.Faults = append(c.Faults, fault)
	}
}

// Warning reports, as [Checker.Fail] does, something that is allowed but probably
// not meant.
func (c *Checker) Warning(message string, path ...any) {
	if fault, ok := c.fault(message, path); ok && c.Warn != nil {
		c.Warn(fault)
	}
}

// Required reports whether a value is there, and adds a fault if it is not.
func (c *Checker) Required(value string, path ...any) bool {
	switch {
	case value != "":
		return true
	case c.Doc.Has(c.full(path)...):
		c.Fail("is empty", path...)
	default:
		c.Fail("is missing", path...)
	}
	return false
}

func (c *Checker) fault(message string, path []any) (f Fault, ok bool) {
	full := c.full(path)
	if len(path) > 0 && c.Doc.Faulty(full...) {
		return Fault{}, false
	}
	if label := Label(path...); label != "" && !c.Bare {
		message = label + ": " + message
	}
	return c.Doc.Fault(message, full...), true
}

func (c *Checker) full(path []any) []any {
	return append(slices.Clip(c.Base), path...)
}

// Label names a path as people do: approval.rules[0].action.
func Label(path ...any) string {
	var b strings.Builder
	for _, step := range path {
		switch step := step.(type) {
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		}
	}
	return b.String()
}

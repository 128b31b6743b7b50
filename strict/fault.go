package strict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Fault is one thing that is wrong with a file.
type Fault struct {
	File    string
	Line    int // from 1; 0: the file as a whole
	Column  int // in characters, from 1
	Message string
	// Pointer is the place in a JSON document (RFC 6901), for whoever sees no lines.
	// What is missing has one, too. "": the document as a whole.
	Pointer string
}

// String returns the fault as compilers print theirs:
// athd.yaml:12:3: unknown key "foo".
func (f Fault) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", f.File, f.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Message)
}

// Error returns [Fault.String].
func (f Fault) Error() string { return f.String() }

// Faults are all faults of one or several files. Whoever returns them as an
// error uses [Faults.Err]: a nil Faults in an error variable is not nil.
type Faults []Fault

// Error returns one fault per line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, x := range f {
		lines[i] = x.String()
	}
	return strings.Join(lines, "\n")
}

// Err returns the faults as an error, nil if there is none.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// Sort orders the faults by file, line and column, in place, and returns them
// without those that say the same thing of the same place.
func (f Faults) Sort() Faults {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(f)
}

package httpapi

import (
	"bytes"
	"fmt"
)

// What a stranger's JSON may hold. Of what is asked for here, a registration
// for all scopes that it may ask for has the most, some 500 separators; one
// whose texts are written in nothing but \u escapes has some 2,000 of those.
const (
	maxSeparators = 1024 // opening braces and brackets, and commas
	maxEscapes    = 4096 // backslashes
)

// cutJSON cuts what costs more to read than it is worth: a value or an escape
// costs as much as a hundred bytes of text. over says of what there is too
// much, and is "" where that is nothing; then head is data. Else head may be
// read for what is wrong with it, and never for what it says.
func cutJSON(data []byte) (head []byte, over string) {
	if bytes.Count(data, []byte{'\\'}) > maxEscapes {
		return nil, fmt.Sprintf("more than %d escaped characters", maxEscapes)
	}
	if bytes.Count(data, []byte{'{'})+bytes.Count(data, []byte{'['})+bytes.Count(data, []byte{','}) <= maxSeparators {
		return data, ""
	}
	left := maxSeparators
	end := bytes.IndexFunc(data, func(c rune) bool {
		if c == '{' || c == '[' || c == ',' {
			left--
		}
		return left < 0
	})
	return data[:end], fmt.Sprintf("more than %d objects, lists and items", maxSeparators)
}

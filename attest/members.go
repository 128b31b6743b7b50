package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// checkMembers walks the JSON once: one value, no member twice, not too deep,
// so that every reader sees the same. what names it in the error.
func checkMembers(what string, data []byte) error {
	malformed := errors.New(what + " is not JSON")
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var open []map[string]bool // per level: the names so far; nil in a list
	key := false               // the next token is a name
	for done := false; !done; {
		token, err := d.Token()
		if err != nil {
			return malformed
		}
		switch t := token.(type) {
		case json.Delim:
			switch t {
			case '{':
				open = append(open, map[string]bool{})
			case '[':
				open = append(open, nil)
			default:
				open = open[:len(open)-1]
			}
			if len(open) > maxDepth {
				return errors.New(what + " has too many levels")
			}
		case string:
			if key {
				names := open[len(open)-1]
				if names[t] {
					return errors.New(what + " has a member twice")
				}
				names[t] = true
				key = false
				continue // its value follows
			}
		}
		key = len(open) > 0 && open[len(open)-1] != nil
		done = len(open) == 0
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return malformed
	}
	return nil
}

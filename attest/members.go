package attest

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/athd/athd/ath"
)

// checkMembers walks the JSON once: one value, no member twice, not too deep,
// not too much to read, so that every reader sees the same. what names it in
// the error.
func checkMembers(what string, data []byte) error {
	data, over := ath.CutJSON(data)
	d := jsontext.NewDecoder(bytes.NewBuffer(data))
	for {
		_, err := d.ReadToken()
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			return errors.New(what + " has a member twice")
		case d.StackDepth() > maxDepth:
			return errors.New(what + " has too many levels")
		case over != "" && err != nil:
			return errors.New(what + " holds " + over)
		case err != nil:
			return errors.New(what + " is not JSON")
		case d.StackDepth() > 0:
		case over != "":
			return errors.New(what + " holds " + over)
		default:
			if _, err := d.ReadToken(); err != io.EOF {
				return errors.New(what + " is not JSON")
			}
			return nil
		}
	}
}

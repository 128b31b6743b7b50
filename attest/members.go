package attest

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// maxMembers is how many members all objects together may have: each is
// remembered, so that none is there twice.
const maxMembers = 1024

// checkMembers walks the JSON once: one value, no member twice, not too deep,
// so that every reader sees the same. what names it in the error.
func checkMembers(what string, data []byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(data))
	for members := 0; ; {
		_, err := d.ReadToken()
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			return errors.New(what + " has a member twice")
		case d.StackDepth() > maxDepth:
			return errors.New(what + " has too many levels")
		case err != nil:
			return errors.New(what + " is not JSON")
		case d.StackDepth() > 0:
			if in, n := d.StackIndex(d.StackDepth()); in == '{' && n%2 == 1 { // that was a name
				members++
			}
			if members > maxMembers {
				return errors.New(what + " has too many members")
			}
		default:
			if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
				return errors.New(what + " is not JSON")
			}
			return nil
		}
	}
}

package athflow

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/athd/athd/ath"
)

// What a JSON body may hold. A registration of all that may be asked for has
// some 500 separators; one whose texts are written in nothing but \u escapes,
// or with each slash escaped, has some 2,000 of those.
const (
	maxSeparators = 1024 // opening braces and brackets, and commas
	maxEscapes    = 4096 // backslashes
	maxFieldName  = 64   // of a field of ours, and so of one that an error names
)

// An optionalBody is a request that may come without a body. Then everything
// is meant, so that a misspelt field must not pass for none: its decoding is
// strict. optional says what the body may hold.
type optionalBody interface{ optional() string }

// decode reads a JSON object, or a form where the step's request can be one.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := wholeBody(w, r)
	if err != nil {
		return unread(err)
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if media == "application/x-www-form-urlencoded" {
		if fields, ok := formFields(into); ok {
			return decodeForm(string(body), fields)
		}
	}
	o, optional := into.(optionalBody)
	if optional && len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	head, tooMuch := affordable(body)
	d := jsontext.NewDecoder(bytes.NewBuffer(head))
	err = json.UnmarshalDecode(d, into, json.RejectUnknownMembers(optional))
	switch {
	case tooMuch != nil:
		return inField(tooMuch, err)
	case err == nil:
		if _, err := d.ReadToken(); err != io.EOF {
			return ath.Errorf(ath.InvalidRequest, "The body holds more than one JSON value.")
		}
		return nil
	case optional:
		return ath.Errorf(ath.InvalidRequest, "The body may hold %s, as a JSON object.", o.optional()).WithCause(errors.New("json: not as described"))
	}
	return invalidJSON(err)
}

// affordable cuts what costs more to read than a body is worth: each value and
// each escape costs as much as a hundred bytes of text. What is left is read
// only for the name of the field that holds too much.
func affordable(body []byte) (head []byte, tooMuch *ath.Error) {
	separators := func(b []byte) int {
		return bytes.Count(b, []byte{'{'}) + bytes.Count(b, []byte{'['}) + bytes.Count(b, []byte{','})
	}
	switch {
	case separators(body) > maxSeparators:
		left := maxSeparators
		end := bytes.IndexFunc(body, func(c rune) bool {
			if c == '{' || c == '[' || c == ',' {
				left--
			}
			return left < 0
		})
		return body[:end], ath.Errorf(ath.InvalidRequest, "The body holds more than %d objects, lists and items.", maxSeparators)
	case bytes.Count(body, []byte{'\\'}) > maxEscapes:
		return nil, ath.Errorf(ath.InvalidRequest, "The body holds more than %d escaped characters.", maxEscapes)
	}
	return body, nil
}

// invalidJSON names the field that has the wrong type, but not its value, which
// may be a secret.
func invalidJSON(err error) error {
	if wrong, ok := errors.AsType[*json.SemanticError](err); ok && wrong.JSONPointer != "" {
		e := ath.Errorf(ath.InvalidRequest, "A field of the body has the wrong type.")
		return inField(e.WithCause(fmt.Errorf("json: a %v", wrong.JSONKind)), err)
	}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok && errors.Is(syntax.Err, jsontext.ErrDuplicateName) {
		return inField(ath.Errorf(ath.InvalidRequest, "The body holds a member twice."), err)
	}
	return ath.Errorf(ath.InvalidRequest, "The body is not a JSON object.").WithCause(errors.New("json: syntax"))
}

// inField adds to e where in the body err occurred: the names on the way there,
// without positions in lists, if they are such as our fields have.
func inField(e *ath.Error, err error) *ath.Error {
	var at jsontext.Pointer
	if wrong, ok := errors.AsType[*json.SemanticError](err); ok {
		at = wrong.JSONPointer
	} else if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = syntax.JSONPointer
	}
	var names []string
	for token := range at.Tokens() {
		switch {
		case strings.Trim(token, "0123456789") == "":
		case strings.Trim(token, "abcdefghijklmnopqrstuvwxyz_") != "":
			return e
		default:
			names = append(names, token)
		}
	}
	field := strings.Join(names, ".")
	if field == "" || len(field) > maxFieldName {
		return e
	}
	return e.WithDetail("field", field)
}

// invalidField refuses one field of the body by name.
func invalidField(field, format string, args ...any) *ath.Error {
	return ath.Errorf(ath.InvalidRequest, "%s", fmt.Sprintf(format, args...)).WithDetail("field", field)
}

// wholeBody returns what readAhead has read, or reads it now.
func wholeBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if b, ok := r.Body.(*body); ok {
		return b.read, b.err
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
}

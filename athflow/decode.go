package athflow

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/athd/athd/ath"
)

// maxFieldName is how long the name of a field of ours is at most.
const maxFieldName = 64

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
	if isForm(r) {
		if fields, ok := formFields(into); ok {
			return decodeForm(string(body), fields)
		}
	}
	o, optional := into.(optionalBody)
	if optional && len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	head, over := cutJSON(body)
	d := jsontext.NewDecoder(bytes.NewBuffer(head))
	err = json.UnmarshalDecode(d, into, json.RejectUnknownMembers(optional))
	switch {
	case over != "":
		return inField(ath.Errorf(ath.InvalidRequest, "The body holds %s.", over), err)
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

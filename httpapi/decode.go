package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
)

// maxFieldName is how long the name of a field of ours is at most.
const maxFieldName = 64

// EmptyRequest is the request of a step that takes no body.
type EmptyRequest struct{}

// decode reads a JSON object, or a form where the step's request can be one.
// Fields that it does not know are ignored.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := wholeBody(w, r)
	if err != nil {
		return unread(err)
	}
	if isForm(r) {
		if fields, ok := formFields(into); ok {
			if err := decodeForm(string(body), fields); err != nil {
				return err
			}
			if r, ok := into.(*api.TokenRequest); ok {
				return decodeForm(string(body), grantFields(r))
			}
			return nil
		}
	}
	if r, ok := into.(*api.TokenRequest); ok {
		return decodeToken(body, r)
	}
	return decodeJSON(body, into, invalidJSON)
}

// decodeToken reads the members that each token request has, and then those of its
// grant_type: whatever those of another grant are.
func decodeToken(body []byte, into *api.TokenRequest) error {
	var always struct {
		GrantType    string     `json:"grant_type"`
		ClientID     string     `json:"client_id"`
		ClientSecret api.Secret `json:"client_secret"`
		Attestation  api.Secret `json:"agent_attestation"`
	}
	if err := decodeJSON(body, &always, invalidJSON); err != nil {
		return err
	}
	into.GrantType, into.ClientID, into.ClientSecret, into.Attestation = always.GrantType, always.ClientID, always.ClientSecret, always.Attestation
	switch into.GrantType {
	case api.GrantAuthorizationCode:
		var code struct {
			Code    api.Secret `json:"code"`
			Session api.Secret `json:"ath_session_id"`
		}
		err := decodeJSON(body, &code, invalidJSON)
		into.Code, into.Session = code.Code, code.Session
		return err
	case api.GrantRefreshToken:
		var renewal struct {
			RefreshToken api.Secret `json:"refresh_token"`
			Scope        string     `json:"scope"`
			Scopes       []string   `json:"scopes"`
		}
		err := decodeJSON(body, &renewal, invalidJSON)
		into.RefreshToken, into.Scope, into.Scopes = renewal.RefreshToken, renewal.Scope, renewal.Scopes
		return err
	}
	return nil
}

// decodeOptional reads a JSON object of no other fields, or nothing.
func decodeOptional(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := wholeBody(w, r)
	if err != nil {
		return unread(err)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	return decodeJSON(body, into, func(error) error {
		return ath.Errorf(ath.InvalidRequest, "The body may hold %s, as a JSON object.", fieldsOf(into)).WithCause(errors.New("json: not as described"))
	}, json.RejectUnknownMembers(true))
}

func decodeJSON(body []byte, into any, invalid func(error) error, options ...json.Options) error {
	head, over := cutJSON(body)
	d := jsontext.NewDecoder(bytes.NewBuffer(head))
	err := json.UnmarshalDecode(d, into, options...)
	switch {
	case over != "":
		return inField(ath.Errorf(ath.InvalidRequest, "The body holds %s.", over), err)
	case err != nil:
		return invalid(err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return ath.Errorf(ath.InvalidRequest, "The body holds more than one JSON value.")
	}
	return nil
}

// fieldsOf names the fields of a request: "a, b and c", or "nothing".
func fieldsOf(into any) string {
	var names []string
	for f := range reflect.TypeOf(into).Elem().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	switch last := len(names) - 1; last {
	case -1:
		return "nothing"
	case 0:
		return names[0]
	default:
		return strings.Join(names[:last], ", ") + " and " + names[last]
	}
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

// InvalidField refuses one field of the body by name.
func InvalidField(field, format string, args ...any) *ath.Error {
	return ath.Errorf(ath.InvalidRequest, "%s", fmt.Sprintf(format, args...)).WithDetail("field", field)
}

// wholeBody returns what readAhead has read, or reads it now.
func wholeBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if b, ok := r.Body.(*body); ok {
		return b.read, b.err
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
}

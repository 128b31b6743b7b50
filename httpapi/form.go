package httpapi

import (
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
)

// formFields are where the members go of a request that may also come as a
// form, as OAuth clients send theirs. No other request may.
func formFields(into any) (fields map[string]func(string), ok bool) {
	switch r := into.(type) {
	case *api.TokenRequest:
		return map[string]func(string){
			"grant_type": text(&r.GrantType), "client_id": text(&r.ClientID), "client_secret": secret(&r.ClientSecret),
			"agent_attestation": secret(&r.Attestation),
		}, true
	case *api.RevokeRequest:
		return map[string]func(string){
			"client_id": text(&r.ClientID), "client_secret": secret(&r.ClientSecret), "token": secret(&r.Token),
		}, true
	}
	return nil, false
}

// grantFields are where those members of a token request go that its grant_type
// has. Those of another grant are not looked at.
func grantFields(r *api.TokenRequest) map[string]func(string) {
	switch r.GrantType {
	case api.GrantAuthorizationCode:
		return map[string]func(string){"code": secret(&r.Code), "ath_session_id": secret(&r.Session)}
	case api.GrantRefreshToken:
		return map[string]func(string){
			"refresh_token": secret(&r.RefreshToken), "scope": text(&r.Scope),
			"scopes": func(value string) { r.Scopes = strings.Fields(value) },
		}
	}
	return nil
}

func text(into *string) func(string) { return func(value string) { *into = value } }
func secret(into *api.Secret) func(string) {
	return func(value string) { *into = api.NewSecret(value) }
}

// maxFields is how many fields a form or a query may have: a server that
// answers an authorization sends some ten.
const maxFields = 64

func tooManyFields(raw string) bool { return strings.Count(raw, "&") >= maxFields }

func isForm(r *http.Request) bool {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return media == "application/x-www-form-urlencoded"
}

// ReadForm reads the form that a page posted, of at most limit bytes. A body of
// another media type is one without fields.
func ReadForm(w http.ResponseWriter, r *http.Request, limit int) (url.Values, error) {
	body, err := wholeBody(w, r)
	if err != nil || len(body) > limit {
		return nil, ath.Errorf(ath.InvalidRequest, "The form could not be read.")
	}
	if !isForm(r) {
		return nil, nil
	}
	return parseForm(string(body))
}

func parseForm(body string) (url.Values, error) {
	if tooManyFields(body) {
		return nil, ath.Errorf(ath.InvalidRequest, "The form has more than %d fields.", maxFields)
	}
	q, err := url.ParseQuery(body)
	if err != nil {
		return nil, ath.Errorf(ath.InvalidRequest, "The body is not a form.")
	}
	return q, nil
}

func decodeForm(body string, fields map[string]func(string)) error {
	q, err := parseForm(body)
	if err != nil {
		return err
	}
	for name, set := range fields {
		if len(q[name]) > 1 { // RFC 6749, section 3.2
			return InvalidField(name, "A field is given twice.")
		}
		set(q.Get(name))
	}
	return nil
}

package metadata

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/athd/athd/ath"
)

// A Document is a server's metadata, as the server wrote it. Members of other
// specifications are not kept.
type Document struct {
	Issuer                string
	AuthorizationEndpoint string
	TokenEndpoint         string
	UserinfoEndpoint      string
	RevocationEndpoint    string   // RFC 7009
	IntrospectionEndpoint string   // RFC 7662
	JWKSURI               string   // the keys of ID tokens
	IDTokenAlgorithms     []string // nil: not said
	ScopesSupported       []string // a server may know more than it says
	TokenAuthMethods      []string // nil: not said, which means client_secret_basic
	ChallengeMethods      []string // of PKCE (RFC 7636); nil: not said
	GrantTypes            []string // nil: not said
	// PromisesIssuer says that every answer at the callback names its issuer
	// (RFC 9207, section 3).
	PromisesIssuer bool

	wrong []string // members that are not of their type: they are as if not there
}

// maxListed bounds each list of a document.
const maxListed = 1024

// Parse reads a document. It fails where it is no JSON object, has a member
// twice, does not say its issuer, or where PromisesIssuer cannot be read; any
// other member of a wrong type fails [Document.Check] only.
func Parse(data []byte) (*Document, error) {
	var top map[string]jsontext.Value
	if err := json.Unmarshal(data, &top); errors.Is(err, jsontext.ErrDuplicateName) {
		return nil, errors.New("the document has a member twice")
	} else if err != nil || top == nil {
		return nil, errors.New("the document is not a JSON object")
	}
	d := &Document{}
	if value := top[promise]; given(value) && json.Unmarshal(value, &d.PromisesIssuer) != nil {
		return nil, fmt.Errorf("%s is not true or false", promise)
	}
	for name, to := range d.texts() {
		if value := top[name]; given(value) && json.Unmarshal(value, to) != nil {
			*to = ""
			d.wrong = append(d.wrong, name)
		}
	}
	for name, to := range d.lists() {
		if value := top[name]; given(value) && json.Unmarshal(value, to) != nil || len(*to) > maxListed {
			*to = nil
			d.wrong = append(d.wrong, name)
		}
	}
	slices.Sort(d.wrong)
	if d.Issuer == "" {
		return nil, errors.New("issuer is missing, or not text")
	}
	return d, nil
}

// Encode returns the document as [Parse] reads it.
func (d *Document) Encode() ([]byte, error) {
	out := map[string]any{}
	for name, s := range d.texts() {
		if *s != "" {
			out[name] = *s
		}
	}
	for name, list := range d.lists() {
		if *list != nil {
			out[name] = *list
		}
	}
	if d.PromisesIssuer {
		out[promise] = true
	}
	return json.Marshal(out, json.Deterministic(true))
}

const promise = "authorization_response_iss_parameter_supported"

// texts and lists are the members, by their names.
func (d *Document) texts() map[string]*string {
	return map[string]*string{
		"issuer":                 &d.Issuer,
		"authorization_endpoint": &d.AuthorizationEndpoint,
		"token_endpoint":         &d.TokenEndpoint,
		"userinfo_endpoint":      &d.UserinfoEndpoint,
		"revocation_endpoint":    &d.RevocationEndpoint,
		"introspection_endpoint": &d.IntrospectionEndpoint,
		"jwks_uri":               &d.JWKSURI,
	}
}

func (d *Document) lists() map[string]*[]string {
	return map[string]*[]string{
		"scopes_supported":                      &d.ScopesSupported,
		"token_endpoint_auth_methods_supported": &d.TokenAuthMethods,
		"code_challenge_methods_supported":      &d.ChallengeMethods,
		"grant_types_supported":                 &d.GrantTypes,
		"id_token_signing_alg_values_supported": &d.IDTokenAlgorithms,
	}
}

// An Endpoint is one URL of a document.
type Endpoint struct{ Name, URL string }

// Endpoints are those that the document has, ordered by name.
func (d *Document) Endpoints() []Endpoint {
	var all []Endpoint
	for name, s := range d.texts() {
		if name != "issuer" && *s != "" {
			all = append(all, Endpoint{name, *s})
		}
	}
	slices.SortFunc(all, func(a, b Endpoint) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// given reports whether a member is there: null counts as not.
func given(value jsontext.Value) bool { return len(value) > 0 && value.Kind() != 'n' }

// Check reports why a client cannot use the server by this document: a member
// that is not of its type, an endpoint that is missing, or one that is no URL
// to send users and codes to (https, but where the issuer itself is http).
func (d *Document) Check() error {
	var faults []error
	for _, name := range d.wrong {
		faults = append(faults, fmt.Errorf("%s is of another type than the specification has it", name))
	}
	http := strings.HasPrefix(d.Issuer, "http:")
	for _, e := range []struct {
		name, url string
		required  bool
	}{
		{"authorization_endpoint", d.AuthorizationEndpoint, true},
		{"token_endpoint", d.TokenEndpoint, true},
		{"userinfo_endpoint", d.UserinfoEndpoint, false},
		{"revocation_endpoint", d.RevocationEndpoint, false},
		{"introspection_endpoint", d.IntrospectionEndpoint, false},
		{"jwks_uri", d.JWKSURI, false},
	} {
		switch {
		case e.url == "" && e.required && !slices.Contains(d.wrong, e.name):
			faults = append(faults, fmt.Errorf("%s is missing", e.name))
		case e.url == "":
		default:
			if err := checkEndpoint(e.url, http); err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", e.name, err))
			}
		}
	}
	return errors.Join(faults...)
}

const maxURLBytes = 2048

func checkEndpoint(s string, http bool) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || len(s) > maxURLBytes || !ath.IsVisible(s):
		return fmt.Errorf("want an absolute URL, not %s", quoted(s))
	case u.Scheme != "https" && (u.Scheme != "http" || !http):
		return fmt.Errorf("want https, not %s", quoted(s))
	case u.User != nil || strings.Contains(s, "#"):
		return fmt.Errorf("want a URL without user information and fragment, not %s", quoted(s))
	}
	return nil
}

// quoted bounds what a server said.
func quoted(s string) string { return fmt.Sprintf("%.200q", s) }

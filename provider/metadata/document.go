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
	for name, to := range map[string]*bool{"authorization_response_iss_parameter_supported": &d.PromisesIssuer} {
		if value := top[name]; given(value) && json.Unmarshal(value, to) != nil {
			return nil, fmt.Errorf("%s is not true or false", name)
		}
	}
	for name, to := range map[string]*string{
		"issuer":                 &d.Issuer,
		"authorization_endpoint": &d.AuthorizationEndpoint,
		"token_endpoint":         &d.TokenEndpoint,
		"userinfo_endpoint":      &d.UserinfoEndpoint,
		"revocation_endpoint":    &d.RevocationEndpoint,
		"introspection_endpoint": &d.IntrospectionEndpoint,
		"jwks_uri":               &d.JWKSURI,
	} {
		if value := top[name]; given(value) && json.Unmarshal(value, to) != nil {
			*to = ""
			d.wrong = append(d.wrong, name)
		}
	}
	for name, to := range map[string]*[]string{
		"scopes_supported":                      &d.ScopesSupported,
		"token_endpoint_auth_methods_supported": &d.TokenAuthMethods,
		"code_challenge_methods_supported":      &d.ChallengeMethods,
		"grant_types_supported":                 &d.GrantTypes,
	} {
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

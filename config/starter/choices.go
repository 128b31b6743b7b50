package starter

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/provider/metadata"
)

// PrivateDir is the directory beside athd.yaml for what only its owner may
// read: secrets, sockets, logs.
const PrivateDir = ".athd"

// Files in [PrivateDir].
const (
	AdminTokenFile = PrivateDir + "/admin.token"
	socketFile     = PrivateDir + "/authz.sock"
	// CertFile and KeyFile are Envoy's, where the public URL is https on this
	// machine.
	CertFile = PrivateDir + "/cert.pem"
	KeyFile  = PrivateDir + "/key.pem"
)

// Choices are what only the operator knows. Either Server and Upstream are
// given, for an API of the operator's own, or Preset.
type Choices struct {
	PublicURL string // Envoy's, such as http://localhost:8080
	ID        string // of the app or provider; default shop, or the preset's name
	Scopes    []string
	ClientID  string // "": the variable of [Files.Variables]
	// SecretFile holds the client secret, as athd.yaml shall name it; "": a
	// variable.
	SecretFile string
	Dir        string // where athd.yaml will be, as an absolute path
	Schema     string // URL of the JSON Schema, for editors; "": none

	Upstream string             // the API's URL
	Server   *metadata.Document // its OAuth server
	// PrivateIssuer: the server may be at a private address, also in production.
	PrivateIssuer bool

	Preset string
}

// Trying reports whether agents and browsers are on this very machine.
func (c *Choices) Trying() bool {
	u, err := url.Parse(c.PublicURL)
	return err == nil && ath.IsLoopbackHost(u.Hostname())
}

// variable is the name of an environment variable of the app or provider.
func (c *Choices) variable(suffix string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, c.ID) + "_" + suffix
}

// authMethod chooses how athd authenticates at the token endpoint; "" is
// athd's default.
func authMethod(d *metadata.Document) (provider.AuthMethod, error) {
	methods := d.TokenAuthMethods
	if methods == nil {
		return provider.ClientSecretBasic, nil // RFC 8414, section 2
	}
	for _, m := range []provider.AuthMethod{provider.ClientSecretPost, provider.ClientSecretBasic, provider.NoClientAuth} {
		if slices.Contains(methods, string(m)) {
			return m, nil
		}
	}
	return "", fmt.Errorf("%s takes clients by %s only, and athd has client_secret_post, client_secret_basic and none",
		d.Issuer, provider.Quoted(strings.Join(methods, ", ")))
}

// A scope that says who the user is, or how long it holds, opens no API.
var identityScopes = []string{"openid", "profile", "email", "address", "phone", "offline_access", "offline"}

// ErrNoScopes says that nobody named the scopes that agents may ask for.
var ErrNoScopes = errors.New("which scopes may agents ask for?")

// ScopesOf chooses, of what a server says that it knows, the scopes that open
// requests by their names; left are the others, but for those of identity.
func ScopesOf(d *metadata.Document) (chosen, left []string, err error) {
	for _, s := range d.ScopesSupported {
		switch _, err := ath.ParseScopes([]string{s}); {
		case err != nil || slices.Contains(identityScopes, s) || slices.Contains(chosen, s):
		case provider.OpensByName(s) && len(chosen) < ath.MaxScopes:
			chosen = append(chosen, s)
		default:
			left = append(left, s)
		}
	}
	switch {
	case len(chosen) > 0:
		return chosen, left, nil
	case len(left) > 0:
		return nil, left, fmt.Errorf("%w The metadata of %s lists %s, of which no name says what it opens (as products:read does)",
			ErrNoScopes, d.Issuer, provider.Quoted(strings.Join(left, " ")))
	}
	return nil, nil, fmt.Errorf("%w The metadata of %s lists none of an API (scopes_supported)", ErrNoScopes, d.Issuer)
}

package provider

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"github.com/athd/athd/ath"
)

// An AuthRequest is what differs from one authorization to the next.
type AuthRequest struct {
	State       ath.Secret // ours, towards the provider
	Verifier    ath.Secret // PKCE (RFC 7636); only its S256 challenge leaves
	RedirectURI string
	Scopes      ath.Scopes
	Resource    string // RFC 8707; "": none
}

// AuthCodeURL returns the URL at the provider that asks the user for consent
// (Z-2). It holds the state in plain: it goes to the user's browser only.
func (p *Provider) AuthCodeURL(r AuthRequest) string {
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(r.Verifier.Reveal())}
	if len(r.Scopes) > 0 {
		options = append(options, oauth2.SetAuthURLParam("scope", strings.Join(r.Scopes, p.Separator)))
	}
	if r.Scopes.Has(openIDScope) {
		options = append(options, oauth2.SetAuthURLParam("nonce", nonceOf(r.Verifier)))
	}
	if r.Resource != "" {
		options = append(options, oauth2.SetAuthURLParam("resource", r.Resource))
	}
	return p.config(r.RedirectURI).AuthCodeURL(r.State.Reveal(), append(options, params(p.ExtraAuthz)...)...)
}

// config is the provider in the words of x/oauth2. The way of authentication
// is always named: left open, x/oauth2 would try both, and the second try
// would bring a code that the first has spent.
func (p *Provider) config(redirectURI string) *oauth2.Config {
	c := &oauth2.Config{
		ClientID:     p.ClientID,
		ClientSecret: p.ClientSecret.Reveal(),
		RedirectURL:  redirectURI,
		Endpoint: oauth2.Endpoint{
			AuthURL:   p.AuthorizeURL.String(),
			TokenURL:  p.TokenURL.String(),
			AuthStyle: oauth2.AuthStyleInParams,
		},
	}
	switch p.AuthMethod {
	case ClientSecretBasic:
		c.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	case NoClientAuth:
		c.ClientSecret = ""
	}
	return c
}

func params(m map[string]string) []oauth2.AuthCodeOption {
	var options []oauth2.AuthCodeOption
	for _, name := range slices.Sorted(maps.Keys(m)) {
		options = append(options, oauth2.SetAuthURLParam(name, m[name]))
	}
	return options
}

package provider

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"github.com/athd/athd/ath"
)

// An AuthRequest is what differs from one authorization to the next.
type AuthRequest struct {
	State       ath.Secret // athd's, towards the provider
	Verifier    ath.Secret // PKCE (RFC 7636); only its S256 challenge leaves
	RedirectURI string
	Scopes      ath.Scopes
	Resource    string // RFC 8707; "": none
}

// AuthCodeURL returns the URL at the provider that asks the user for consent
// (Z-2). It contains the state in plain: it is for the user's browser only.
func (p *Provider) AuthCodeURL(r AuthRequest) string {
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(r.Verifier.Reveal())}
	if len(r.Scopes) > 0 {
		options = append(options, oauth2.SetAuthURLParam(cmp.Or(p.dialect.ScopeParameter, "scope"), strings.Join(r.Scopes, p.Separator)))
	}
	if asksIDToken(r.Scopes) {
		options = append(options, oauth2.SetAuthURLParam("nonce", nonceOf(r.Verifier)))
	}
	if r.Resource != "" {
		options = append(options, oauth2.SetAuthURLParam("resource", r.Resource))
	}
	config := oauth2.Config{ClientID: p.ClientID, RedirectURL: r.RedirectURI, Endpoint: oauth2.Endpoint{AuthURL: p.AuthorizeURL.String()}}
	return config.AuthCodeURL(r.State.Reveal(), append(options, params(p.ExtraAuthz)...)...)
}

func params(m map[string]string) []oauth2.AuthCodeOption {
	var options []oauth2.AuthCodeOption
	for _, name := range slices.Sorted(maps.Keys(m)) {
		options = append(options, oauth2.SetAuthURLParam(name, m[name]))
	}
	return options
}

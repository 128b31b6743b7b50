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

	shown bool
}

// Shown is for a URL that is only shown to an agent: what athd adds to the scopes
// is not in it.
func (r AuthRequest) Shown() AuthRequest {
	r.shown = true
	return r
}

// AuthCodeURL returns the URL at the provider that asks the user for consent
// (Z-2). It contains the state in plain: it is for the user's browser only.
func (p *Provider) AuthCodeURL(r AuthRequest) string {
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(r.Verifier.Reveal())}
	scopes := r.Scopes
	if !r.shown {
		scopes = p.asked(scopes)
	}
	if len(scopes) > 0 {
		options = append(options, oauth2.SetAuthURLParam(cmp.Or(p.dialect.ScopeParameter, "scope"), strings.Join(scopes, p.Separator)))
	}
	if asksIDToken(scopes) {
		options = append(options, oauth2.SetAuthURLParam("nonce", nonceOf(r.Verifier)))
	}
	if resource := cmp.Or(p.Resource, r.Resource); resource != "" {
		options = append(options, oauth2.SetAuthURLParam("resource", resource))
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

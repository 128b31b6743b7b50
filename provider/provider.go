// Package provider reads and uses the configuration of OAuth servers and the APIs
// behind them: providers.json and the apps of athd.yaml ([Parse], [AppConfig]),
// the set of all of them ([Set], [Providers]), which requests a scope covers
// ([Provider.Permits]), and the OAuth calls to each server
// ([Provider.AuthCodeURL], [Client.Exchange]). Defaults for well-known services
// are data in presets/ ([Presets]): adding a service needs no code.
package provider

import (
	"cmp"
	"net/url"
	"slices"

	"github.com/athd/athd/ath"
)

// A Provider is one API with the OAuth server that grants access to it. It is
// immutable once loaded.
type Provider struct {
	ID          string   // see [ValidID] and, of an app, [ValidAppID] (O-2); records and metrics contain it
	Aliases     []string // further names that agents may use; of apps
	ListedAs    string   // the one of Aliases that gateway discovery lists; "": ID
	DisplayName string
	Categories  []string
	Scopes      ath.Scopes // available_scopes

	AuthorizeURL *url.URL
	TokenURL     *url.URL
	APIBase      *url.URL // where agents' calls go, with the base path
	ClientID     string
	ClientSecret ath.Secret
	AuthMethod   AuthMethod
	Issuer       string // RFC 9207; "": not checked
	UserinfoURL  *url.URL
	UserIDField  string // of userinfo if there is an endpoint, else of the token reply; "data.user_id" leads into an object; "": sub
	Separator    string // between scopes in the authorization URL, a space by default
	ExtraAuthz   map[string]string
	ExtraToken   map[string]string
	TokenTypes   []string          // token_types: other names of bearer tokens
	DeniedErrors []string          // denied_errors: see [Provider.Declined]
	ScopeAliases map[string]string // by the requested scope: the name that the server returns for it
	EmptyScope   string            // [EmptyAsNothing] or [EmptyAsRequested]
	Refresh      RefreshPolicy
	RetryOn401   bool             // retry_on_401: an API's 401 has its token judged, and the request sent again with a new one
	Grants       string           // grants: [GrantsPerConsent] or [GrantsPerUser]
	Renewal      ath.RenewalTerms // renewal, else what is said for all: how long a consent stands without its user (T-8)
	Preset       string           // the name of the preset that knows the API or, if none does, its OAuth server; "": none
	Rules        []Rule           // explicit, of a preset, or derived from the scopes' names
	Derived      bool             // the rules were derived
	EncodedSlash bool             // "%2F" is allowed inside of a path segment; rules see the segment with it
	Encoded      ath.Encodable    // what else is allowed inside of a segment where it is encoded: of '#', '?' and '%'; rules see it encoded
	RewriteLinks bool             // links in replies that lead to the API are rewritten to lead here
	App          *App             // native mode; nil: reached under /ath/proxy/ only
	Runtime      bool             // it came by the admin API while athd ran, not from a file; never of an app

	ExtraScopes ath.Scopes // asked of the server with each authorization, never shown to agents or counted for them
	Resource    string     // RFC 8707, sent to the server; "": what the agent names, if it does

	// Discovered says that endpoints are not written: they are the issuer's, see
	// [Provider.With], and AuthorizeURL and TokenURL may be nil until then.
	Discovered    bool
	PrivateIssuer bool // allow_private_issuer

	Revocation    Revocation // when a user's grant is revoked here, after a connection has ended
	RevocationURL *url.URL   // RFC 7009, or where the provider's own way begins; nil: not known
	revocation    RevocationStyle

	written    ownEndpoints
	noPreset   bool    // preset: none
	dialect    dialect // of the OAuth server
	discovered discovered
}

// Names returns every name that the provider goes by, the id first.
func (p *Provider) Names() []string { return append([]string{p.ID}, p.Aliases...) }

// Goes reports whether the provider goes by this name. Records keep the name
// that was the provider's id when they were written.
func (p *Provider) Goes(name string) bool {
	return name == p.ID || slices.Contains(p.Aliases, name)
}

// Listed is the name that discovery lists.
func (p *Provider) Listed() string { return cmp.Or(p.ListedAs, p.ID) }

// RedirectURI is where the provider's server sends users back to: what is to be
// registered there.
func (p *Provider) RedirectURI(publicURL string, perProvider bool) string {
	switch {
	case p.App != nil:
		return p.App.CallbackURL
	case perProvider:
		return publicURL + ath.CallbackPath + "/" + p.Listed()
	}
	return publicURL + ath.CallbackPath
}

// Destination identifies where a user's token comes from and where it is sent:
// token endpoint, client and the API's host. A connection that was made for one
// destination is not used for another (O-2), so that athd cannot be made a
// confused deputy by a change of configuration.
//
// What else gets the token [Provider.Bound] names; [Provider.Agreed] compares both.
// It is "" where the endpoints are not known yet. Where they are the issuer's it
// names the token endpoint that was known first: the server may move it.
func (p *Provider) Destination() string {
	if p.TokenURL == nil {
		return ""
	}
	return cmp.Or(p.discovered.first, p.TokenURL.String()) + " " + p.ClientID + " " + p.APIBase.Scheme + "://" + p.APIBase.Host
}

// Encodable returns all that may stand percent-encoded inside of a segment of
// the API's paths. A nil Provider allows nothing.
func (p *Provider) Encodable() ath.Encodable {
	switch {
	case p == nil:
		return 0
	case p.EncodedSlash:
		return p.Encoded | ath.EncodedSlash
	}
	return p.Encoded
}

// An App is what native mode adds to a provider: an API of the operator's own.
type App struct {
	Name        string
	APIBase     string     // as published in discovery (D-2)
	Upstream    *url.URL   // where the API listens
	Hosts       []ath.Host // that are this app's, on any port; empty: any
	PathPrefix  string     // "" or a path that starts with '/' and does not end with one
	Audience    string     // the app's base URL, without a trailing slash
	CallbackURL string     // {audience}/ath/callback, or that of the consent origin
	Passthrough bool       // people may call it without an ATH token
}

// RoutedHosts returns the app's hosts as routes compare them: without ports, each
// once. None: any host.
func (a *App) RoutedHosts() []ath.Host {
	var hosts []ath.Host
	for _, h := range a.Hosts {
		if h = h.WithoutPort(); !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// An AuthMethod is how athd authenticates at the token endpoint
// (RFC 6749, section 2.3; OpenID Connect Core, section 9).
type AuthMethod string

// The methods. It is never probed: a probe would spend a single-use code.
const (
	ClientSecretPost  AuthMethod = "client_secret_post" // the default
	ClientSecretBasic AuthMethod = "client_secret_basic"
	NoClientAuth      AuthMethod = "none"
)

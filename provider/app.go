package provider

import (
	"net/url"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/strict"
)

// An AppConfig is an entry of apps: in athd.yaml (native mode): an API of the
// operator's own and the OAuth server that grants access to it. Fields have two spellings, ours
// and that of the ATH tutorial; giving both is a fault.
type AppConfig struct {
	AppID            string        `yaml:"app_id"`
	ProviderID       string        `yaml:"provider_id"`
	Aliases          []string      `yaml:"aliases"`
	Name             string        `yaml:"name"`
	APIBase          string        `yaml:"api_base"`
	Upstream         string        `yaml:"upstream"`
	Hosts            []string      `yaml:"hosts"`
	PathPrefix       string        `yaml:"path_prefix"`
	Audience         string        `yaml:"audience"`
	CallbackURL      string        `yaml:"callback_url"`
	AvailableScopes  []string      `yaml:"available_scopes"`
	Categories       []string      `yaml:"categories"`
	OAuth            OAuthConfig   `yaml:"oauth"`
	ScopeRules       []ruleEntry   `yaml:"scope_rules"`
	EncodedSlash     bool          `yaml:"allow_encoded_slash"`
	Encoded          []string      `yaml:"allow_encoded"`
	Unauthenticated  string        `yaml:"unauthenticated"`
	Renewal          RenewalConfig `yaml:"renewal"`
	SkipVerification bool          `yaml:"skip_attestation_verification"`

	Tutorial tutorialApp `yaml:",inline"`
}

// tutorialApp has the tutorial's spellings.
type tutorialApp struct {
	AppID            string   `yaml:"appId"`
	ProviderID       string   `yaml:"providerId"`
	APIBase          string   `yaml:"apiBase"`
	CallbackURL      string   `yaml:"callbackUrl"`
	AvailableScopes  []string `yaml:"availableScopes"`
	SkipVerification bool     `yaml:"skipAttestationVerification"`
}

// An OAuthConfig is the oauth: part of an app. Beside these it takes the
// optional fields of providers.json.
type OAuthConfig struct {
	serverFields `yaml:",inline"`
	Tutorial     tutorialOAuth `yaml:",inline"`
}

type tutorialOAuth struct {
	AuthorizeEndpoint string         `yaml:"authorizeEndpoint"`
	TokenEndpoint     string         `yaml:"tokenEndpoint"`
	ClientID          string         `yaml:"clientId"`
	ClientSecret      ath.SecretText `yaml:"clientSecret"`
}

// SkipsAttestation reports whether the app asks, under either spelling, that
// attestations are not verified (development only).
func (a AppConfig) SkipsAttestation() bool {
	return a.SkipVerification || a.Tutorial.SkipVerification
}

// Provider checks the app, which was decoded from doc at path, expands
// ${NAME} in its values and returns it as a provider, or its faults; never
// both. Where decoding has found a fault the provider is there, so that its names
// can be compared, and lacks what was not read. What the caller has expanded
// already is not expanded again.
func (a AppConfig) Provider(doc *strict.Document, path []any, opt Options) (*Provider, strict.Faults) {
	var faults strict.Faults
	if doc.Has(path...) {
		a = AppConfig{}
		faults = doc.Expand(opt.Env, &a, path...)
	}
	c := &check{Checker: strict.Checker{Doc: doc, Base: path, Warn: opt.Warn}, opt: opt, names: map[string][]any{}, native: true, presets: builtIn()}
	for _, name := range serverFieldNames {
		c.names[name] = []any{"oauth", name}
	}
	server := a.OAuth.serverFields
	c.either("app_id", "appId", &a.AppID, a.Tutorial.AppID)
	c.either("provider_id", "providerId", &a.ProviderID, a.Tutorial.ProviderID)
	c.either("api_base", "apiBase", &a.APIBase, a.Tutorial.APIBase)
	c.either("callback_url", "callbackUrl", &a.CallbackURL, a.Tutorial.CallbackURL)
	c.either("authorize_endpoint", "authorizeEndpoint", &server.AuthorizeEndpoint, a.OAuth.Tutorial.AuthorizeEndpoint)
	c.either("token_endpoint", "tokenEndpoint", &server.TokenEndpoint, a.OAuth.Tutorial.TokenEndpoint)
	c.either("client_id", "clientId", &server.ClientID, a.OAuth.Tutorial.ClientID)
	if c.tutorial("client_secret", "clientSecret") {
		server.ClientSecret = a.OAuth.Tutorial.ClientSecret
	}
	if c.tutorial("available_scopes", "availableScopes") {
		a.AvailableScopes = a.Tutorial.AvailableScopes
	}
	c.tutorial("skip_attestation_verification", "skipAttestationVerification")

	p := a.provider(c, server)
	if faults = append(faults, c.Faults...); len(faults) > 0 {
		return nil, faults.Sort()
	}
	return p, nil
}

func (a AppConfig) provider(c *check, server serverFields) *Provider {
	if c.required("app_id", a.AppID) {
		c.appID("app_id", a.AppID)
	}
	if a.Name == "" {
		a.Name = a.AppID
	}
	c.text("name", a.Name)
	p := &Provider{ID: a.AppID, DisplayName: a.Name, Categories: a.Categories, EncodedSlash: a.EncodedSlash}
	c.otherNames(p, a.ProviderID, a.Aliases)
	for i, category := range a.Categories {
		c.text("categories", category, i)
	}
	var upstream *url.URL
	if c.required("upstream", a.Upstream) {
		p.APIBase, upstream = c.upstream("upstream", a.Upstream)
	}
	app := &App{Name: a.Name, Upstream: upstream, PathPrefix: c.prefix("path_prefix", a.PathPrefix)}
	for i, text := range a.Hosts {
		host, err := ath.ParseHost(text)
		if err != nil {
			c.fail("hosts", "want a host, with or without a port: "+err.Error(), i)
		}
		app.Hosts = append(app.Hosts, host)
	}
	app.Audience = c.audience(a.Audience)
	callback := ath.CallbackPath
	if c.opt.CallbackPerProvider {
		callback += "/" + p.Listed()
	}
	app.CallbackURL = app.Audience + callback
	switch atConsent := c.opt.ConsentURL + callback; {
	case a.CallbackURL == "" || a.CallbackURL == app.CallbackURL:
	case c.opt.ConsentURL == "":
		c.fail("callback_url", "must be the audience followed by "+callback)
	case a.CallbackURL != atConsent:
		c.fail("callback_url", "must be the audience or consent_url, followed by "+callback)
	default:
		app.CallbackURL = atConsent
	}
	if app.APIBase = a.APIBase; a.APIBase == "" {
		app.APIBase = app.Audience + app.PathPrefix
	} else {
		c.published("api_base", a.APIBase)
	}
	switch a.Unauthenticated {
	case "", "deny":
	case "passthrough":
		app.Passthrough = true
	default:
		c.fail("unauthenticated", "want deny or passthrough")
	}
	c.server(p, server, false)
	c.encoded(p, a.Encoded)
	c.scopes(p, a.AvailableScopes, a.ScopeRules)
	c.grants(p, server)
	c.revocable(p)
	c.renewal(p, a.Renewal)
	p.App = app
	return p
}

// otherNames reads the further names of an app. Each is given once: the same name at
// two places is a slip.
func (c *check) otherNames(p *Provider, listed string, aliases []string) {
	if c.Doc.Has(c.full("provider_id")...) {
		c.appID("provider_id", listed)
	}
	if listed != "" && listed != p.ID {
		p.ListedAs, p.Aliases = listed, []string{listed}
	}
	for i, alias := range aliases {
		c.appID("aliases", alias, i)
		if p.Goes(alias) {
			c.fail("aliases", "the app has this name already", i)
		}
		p.Aliases = append(p.Aliases, alias)
	}
}

// audience returns the app's base URL without a trailing slash. The public
// URL was checked by whoever passed it.
func (c *check) audience(s string) string {
	if s == "" || s == c.opt.PublicURL {
		if c.opt.PublicURL == "" {
			c.fail("audience", "is missing")
		}
		return strings.TrimSuffix(c.opt.PublicURL, "/")
	}
	if u := c.published("audience", s); u != nil && u.Path != "" && u.Path != "/" {
		c.fail("audience", "want a URL without a path")
	}
	return strings.TrimSuffix(s, "/")
}

// either uses the tutorial's value instead of ours, if that was given.
func (c *check) either(ours, theirs string, value *string, other string) {
	if c.tutorial(ours, theirs) {
		*value = other
	}
}

// tutorial reports whether a field was given under the tutorial's name, and
// remembers that name for faults. Given under both it is a fault.
func (c *check) tutorial(ours, theirs string) bool {
	at := slices.Clone(c.at(ours))
	at[len(at)-1] = theirs
	if !c.Doc.Has(slices.Concat(c.Base, at)...) {
		return false
	}
	if c.Doc.Has(c.full(ours)...) {
		c.Faults = append(c.Faults, c.Doc.Fault(ours+" and "+theirs+" are two names of one field: give one", slices.Concat(c.Base, at)...))
	}
	if c.names == nil {
		c.names = map[string][]any{}
	}
	c.names[ours] = at
	return true
}

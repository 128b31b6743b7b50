package provider

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/strict"
)

// A check collects the faults of one provider or app. Fields are named as in
// providers.json; names has the path of those that an app has elsewhere.
type check struct {
	strict.Checker
	opt   Options
	names map[string][]any

	native bool // an app: the API is the operator's own
	// atRuntime: it comes over the network, while athd runs
	atRuntime bool
	issuer    *url.URL // where the endpoints are to be its; nil: they are written
	presets   []presetFile
	choice
}

// serverFieldNames are the fields that an app holds under oauth.
var serverFieldNames = [...]string{
	"authorize_endpoint", "token_endpoint", "client_id", "client_secret", "client_secret_file", "issuer",
	"userinfo_endpoint", "user_id_field", "scope_separator", "extra_authorize_params", "extra_token_params",
	"token_auth_method", "preset", "token_kind", "token_types", "denied_errors", "scope_aliases", "empty_scope",
	"refresh", "refresh_margin", "refresh_idle", "refresh_token_auth_method", "refresh_scope", "refresh_denied_errors", "retry_on_401", "grants",
	"revocation", "revocation_endpoint", "extra_scopes", "resource", "allow_private_issuer",
}

func (c *check) at(name string) []any {
	if at, ok := c.names[name]; ok {
		return at
	}
	if name == "" {
		return nil
	}
	return []any{name}
}

func (c *check) full(name string) []any {
	return slices.Concat(c.Base, c.at(name))
}

// fail is [strict.Checker.Fail] for a field; "" is the provider itself.
func (c *check) fail(name, message string, sub ...any) {
	c.Fail(message, slices.Concat(c.at(name), sub)...)
}

// warn is [strict.Checker.Warning] for a field.
func (c *check) warn(name, message string, sub ...any) {
	c.Warning(message, slices.Concat(c.at(name), sub)...)
}

func (c *check) required(name, value string) bool { return c.Required(value, c.at(name)...) }

// text bounds what is shown to people.
func (c *check) text(name, value string, sub ...any) {
	if len(value) > 200 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		c.fail(name, "want at most 200 bytes without control characters", sub...)
	}
}

// id checks a provider id (O-2), which is a key.
func (c *check) id(id string) {
	field := "" // the key of the file
	if c.atRuntime {
		field = "provider_id"
	}
	switch {
	case c.atRuntime && id == "":
		c.required(field, id)
	case id == DefaultName:
		c.fail(field, `the id "default" is reserved`)
	case !ValidID(id):
		c.fail(field, "an id starts with a-z or 0-9, followed by at most 62 of a-z, 0-9, _ and -")
	}
}

// appID checks an app's id or another name of it (O-2).
func (c *check) appID(name, id string, sub ...any) {
	switch {
	case id == DefaultName:
		c.fail(name, `the id "default" is reserved`, sub...)
	case !ValidAppID(id):
		c.fail(name, "an app's id starts with a letter or a digit, followed by at most 126 letters, digits, '.', '_' and '-'", sub...)
	}
}

// server checks the fields of the OAuth server, chooses presets and fills p. noBase
// says that the API's base is to be derived too.
func (c *check) server(p *Provider, s serverFields, noBase bool) {
	c.notFromHere(s)
	p.written = ownEndpoints{s.UserinfoEndpoint != "", s.RevocationEndpoint != ""}
	c.discovery(p, s)
	if s.AuthorizeEndpoint != "" || !p.Discovered && c.required("authorize_endpoint", "") {
		p.AuthorizeURL = c.endpoint("authorize_endpoint", s.AuthorizeEndpoint, authorizeParams)
	}
	if s.TokenEndpoint != "" || !p.Discovered && c.required("token_endpoint", "") {
		p.TokenURL = c.endpoint("token_endpoint", s.TokenEndpoint, tokenParams)
		c.reached("token_endpoint", p.TokenURL)
	}
	c.choose(p, &s, noBase)
	if s.UserinfoEndpoint != "" {
		p.UserinfoURL = c.endpoint("userinfo_endpoint", s.UserinfoEndpoint, nil)
		c.reached("userinfo_endpoint", p.UserinfoURL)
	}
	if p.Issuer = s.Issuer; s.Issuer != "" {
		u := c.url("issuer", s.Issuer, c.opt.AllowHTTP)
		if u != nil && (u.RawQuery != "" || u.ForceQuery) {
			c.fail("issuer", "want a URL without a query")
		}
		c.reached("issuer", u)
	}
	c.required("client_id", s.ClientID)
	if len(s.ClientID) > 1024 || !ath.IsPrintable(s.ClientID) {
		c.fail("client_id", "want at most 1024 bytes of printable ASCII")
	}
	p.ClientID = s.ClientID
	p.UserIDField = s.UserIDField
	c.text("user_id_field", s.UserIDField)

	switch p.Separator = s.ScopeSeparator; p.Separator {
	case "":
		if c.Doc.Has(c.full("scope_separator")...) {
			c.fail("scope_separator", "want a space or a comma")
		}
		p.Separator = " "
	case " ", ",":
	default:
		c.fail("scope_separator", "want a space or a comma")
	}
	c.clientAuth(p, s)
	c.refresh(p, s)
	c.retry(p, s)
	c.revocation(p, s)
	c.words(p, s)
	p.ExtraAuthz = c.extra("extra_authorize_params", s.ExtraAuthorize, authorizeParams)
	p.ExtraToken = c.extra("extra_token_params", s.ExtraToken, tokenParams)
}

func (c *check) clientAuth(p *Provider, s serverFields) {
	switch p.AuthMethod = AuthMethod(s.TokenAuthMethod); p.AuthMethod {
	case "":
		p.AuthMethod = ClientSecretPost
	case ClientSecretPost, ClientSecretBasic, NoClientAuth:
	default:
		c.fail("token_auth_method", "want client_secret_post, client_secret_basic or none")
		return
	}
	p.ClientSecret = s.ClientSecret.Secret
	inline, file := !s.ClientSecret.IsZero(), s.ClientSecretFile != ""
	switch {
	case file && c.atRuntime: // refused already
	case inline && file:
		c.fail("client_secret_file", "client_secret and client_secret_file are both given")
	case (inline || file) && p.AuthMethod == NoClientAuth:
		c.fail("token_auth_method", "is none, but a client secret is given")
	case file:
		p.ClientSecret = c.secretFile("client_secret_file", s.ClientSecretFile)
	case !inline && p.AuthMethod != NoClientAuth:
		c.required("client_secret", "")
	}
	if len(p.ClientSecret.Reveal()) > 4096 || !ath.IsPrintable(p.ClientSecret.Reveal()) {
		c.fail("client_secret", "want at most 4096 bytes of printable ASCII")
	}
}

// secretFile reads a secret; one newline at its end is not part of it.
func (c *check) secretFile(name, file string) ath.Secret {
	if c.opt.ReadFile == nil {
		c.fail(name, "files cannot be read here")
		return ath.Secret{}
	}
	data, err := c.opt.ReadFile(file)
	if err != nil {
		c.fail(name, "cannot be read: "+err.Error())
		return ath.Secret{}
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if secret == "" {
		c.fail(name, "the file is empty")
	}
	return ath.NewSecret(secret)
}

// Parameters of the protocol: what the configuration adds must not replace
// them, nor change how the answer comes back.
var (
	authorizeParams = []string{
		"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge",
		"code_challenge_method", "resource", "request", "request_uri",
	}
	tokenParams = []string{
		"grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "client_id", "client_secret",
		"client_assertion", "client_assertion_type",
	}
)

func (c *check) extra(name string, params map[string]string, reserved []string) map[string]string {
	for key, value := range params {
		switch {
		case slices.Contains(reserved, key):
			c.fail(name, "the protocol's own parameters cannot be set", key)
		case key == "" || len(key) > 256 || !ath.IsPrintable(key) || len(value) > 2048:
			c.fail(name, "want names of printable ASCII and values of at most 2048 bytes", key)
		}
	}
	return params
}

func (c *check) scopes(p *Provider, list []string, rules []ruleEntry) {
	if len(list) == 0 {
		c.required("available_scopes", "")
	}
	for i, s := range list {
		if _, err := ath.ParseScopes([]string{s}); err != nil {
			c.fail("available_scopes", "a scope is 1 to 256 visible ASCII characters other than comma, quote and backslash", i)
		}
	}
	if p.Scopes, _ = ath.ParseScopes(list); len(list) > ath.MaxScopes {
		c.fail("available_scopes", fmt.Sprintf("more than %d scopes", ath.MaxScopes))
	}
	c.aliases(p)
	for i, r := range rules {
		p.Rules = append(p.Rules, c.rule(p, i, r))
	}
	// An empty scope_rules is a statement, too: nothing is permitted.
	switch {
	case c.Doc.Has(c.full("scope_rules")...):
	case c.opens != nil:
		p.Rules = c.opens.rules(p.Scopes, c.moved)
	case !c.speaks.describesAPI() && len(presetsAt(c.presets, p.AuthorizeURL, p.TokenURL, p.UserinfoURL, p.APIBase, c.issuer)) == 0:
		p.Rules, p.Derived = derive(p.Scopes), true
	}
	c.checkRules(p)
}

// encoded says which delimiters may stand encoded inside of a segment: those
// that are written or, where nothing is, those that the API's preset knows of.
func (c *check) encoded(p *Provider, list []string) {
	if c.api != nil && !c.Doc.Has(c.full("allow_encoded")...) {
		p.Encoded = c.api.encoded()
		return
	}
	for i, s := range list {
		switch s {
		case "#", "?", "%":
			e, _ := ath.Encodables(s)
			p.Encoded |= e
		case "/":
			c.fail("allow_encoded", "for %2F write allow_encoded_slash: true", i)
		default:
			c.fail("allow_encoded", `want "#", "?" or "%": others pass encoded to every API, or to none`, i)
		}
	}
}

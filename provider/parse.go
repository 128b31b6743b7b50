package provider

import (
	"maps"
	"slices"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/strict"
)

// Options is what reading a configuration needs from outside of the file.
type Options struct {
	// AllowHTTP lets OAuth endpoints and APIs be http URLs (development).
	AllowHTTP bool
	// PublicURL is the audience of an app that names none.
	PublicURL string
	// ConsentURL is the origin of the consent pages: an app's callback_url may
	// be there, too. "": only at the app's audience.
	ConsentURL string
	// CallbackPerProvider gives each OAuth server a redirect URI of its own.
	CallbackPerProvider bool
	// Env answers ${NAME} in values. A nil Env knows no variable.
	Env func(string) (string, bool)
	// ReadFile reads client_secret_file. A nil ReadFile reads none.
	ReadFile func(string) ([]byte, error)
	// Renewal is that of providers and apps that say nothing of it, and TokenTTL how
	// long tokens live: a consent stands for longer than that.
	Renewal  ath.RenewalTerms
	TokenTTL time.Duration
	// Egress says what a provider that is added while athd runs may reach; its zero
	// value is the Internet. See [ParseOne].
	Egress egress.Policy
	// StrictScopes refuses derived rules.
	StrictScopes bool
	// ChecksReplies says that athd hears of APIs' replies: without it rewrite_links is
	// a fault.
	ChecksReplies bool
	// Own is where no API may be: that of run-time providers. The zero Own refuses
	// none.
	Own Own
	// Warn is called with what is allowed but probably not meant. It may be nil.
	Warn func(strict.Fault)
}

// A FileConfig is one provider of providers.json: the seven fields that every
// file has, and the optional ones.
type FileConfig struct {
	DisplayName  string        `yaml:"display_name"`
	APIBaseURL   string        `yaml:"api_base_url"`
	Categories   []string      `yaml:"categories"`
	Scopes       []string      `yaml:"available_scopes"`
	Rules        []ruleEntry   `yaml:"scope_rules"`
	EncodedSlash bool          `yaml:"allow_encoded_slash"`
	Encoded      []string      `yaml:"allow_encoded"`
	Renewal      RenewalConfig `yaml:"renewal"`
	RewriteLinks bool          `yaml:"rewrite_links"`
	serverFields `yaml:",inline"`
}

// A providersFile is providers.json.
type providersFile struct {
	Schema  string                `yaml:"$schema"` // for editors
	Entries map[string]FileConfig `yaml:",inline"`
}

// serverFields is what providers and apps say of their OAuth server.
type serverFields struct {
	AuthorizeEndpoint  string            `yaml:"authorize_endpoint"`
	TokenEndpoint      string            `yaml:"token_endpoint"`
	ClientID           string            `yaml:"client_id"`
	ClientSecret       ath.SecretText    `yaml:"client_secret"`
	ClientSecretFile   string            `yaml:"client_secret_file"`
	Issuer             string            `yaml:"issuer"`
	UserinfoEndpoint   string            `yaml:"userinfo_endpoint"`
	UserIDField        string            `yaml:"user_id_field"`
	ScopeSeparator     string            `yaml:"scope_separator"`
	ExtraAuthorize     map[string]string `yaml:"extra_authorize_params"`
	ExtraToken         map[string]string `yaml:"extra_token_params"`
	TokenAuthMethod    string            `yaml:"token_auth_method"`
	Preset             string            `yaml:"preset"`
	TokenKind          string            `yaml:"token_kind"`
	TokenTypes         []string          `yaml:"token_types"`
	DeniedErrors       []string          `yaml:"denied_errors"`
	ScopeAliases       map[string]string `yaml:"scope_aliases"`
	EmptyScope         string            `yaml:"empty_scope"`
	Refresh            *bool             `yaml:"refresh"`
	RefreshMargin      string            `yaml:"refresh_margin"`
	RefreshIdle        string            `yaml:"refresh_idle"`
	RefreshAuthMethod  string            `yaml:"refresh_token_auth_method"`
	RefreshScope       bool              `yaml:"refresh_scope"`
	RefreshDenied      []string          `yaml:"refresh_denied_errors"`
	RetryOn401         bool              `yaml:"retry_on_401"`
	Grants             string            `yaml:"grants"`
	Revocation         string            `yaml:"revocation"`
	RevocationEndpoint string            `yaml:"revocation_endpoint"`
	discoveryFields    `yaml:",inline"`
}

type ruleEntry struct {
	Scope   string   `yaml:"scope"`
	Methods []string `yaml:"methods"`
	Paths   []string `yaml:"paths"`
	Upgrade []string `yaml:"upgrade"`
}

// Parse reads providers.json: a JSON object of provider id and fields, and perhaps
// "$schema", by which editors find what is good there. It
// returns the providers ordered by id, or every fault of the file with its
// place; never both.
func Parse(name string, data []byte, opt Options) ([]*Provider, strict.Faults) {
	var raw, f providersFile
	doc, faults := strict.JSON(name, data, &raw)
	faults = append(faults, doc.Expand(opt.Env, &f)...)
	var all []*Provider
	for _, id := range slices.Sorted(maps.Keys(f.Entries)) {
		c := &check{Checker: strict.Checker{Doc: doc, Base: []any{id}, Warn: opt.Warn}, opt: opt, presets: builtIn()}
		all = append(all, f.Entries[id].provider(c, id))
		faults = append(faults, c.Faults...)
	}
	if len(faults) > 0 {
		return nil, faults.Sort()
	}
	return all, nil
}

func (e FileConfig) provider(c *check, id string) *Provider {
	p := &Provider{ID: id, DisplayName: e.DisplayName, Categories: e.Categories, EncodedSlash: e.EncodedSlash, RewriteLinks: e.RewriteLinks}
	c.id(id)
	c.text("display_name", e.DisplayName)
	c.required("display_name", e.DisplayName)
	for i, category := range e.Categories {
		c.text("categories", category, i)
	}
	p.APIBase = c.baseURL("api_base_url", e.APIBaseURL)
	c.reached("api_base_url", p.APIBase)
	c.server(p, e.serverFields, e.APIBaseURL == "")
	c.notOwn(p)
	c.encoded(p, e.Encoded)
	c.scopes(p, e.Scopes, e.Rules)
	c.grants(p, e.serverFields)
	c.revocable(p)
	c.renewal(p, e.Renewal)
	if e.RewriteLinks && !c.opt.ChecksReplies {
		c.fail("rewrite_links", "needs envoy.replies: checked in athd.yaml: else athd hears of no reply")
	}
	return p
}

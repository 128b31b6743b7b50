package provider

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
)

// oauthDefaults are a preset's defaults for its OAuth server, under the names of
// providers.json where that has one: a field that the operator writes wins.
type oauthDefaults struct {
	Issuer             string            `yaml:"issuer"`
	UserinfoEndpoint   string            `yaml:"userinfo_endpoint"`
	UserIDField        string            `yaml:"user_id_field"` // of userinfo
	ScopeSeparator     string            `yaml:"scope_separator"`
	ExtraAuthorize     map[string]string `yaml:"extra_authorize_params"`
	ExtraToken         map[string]string `yaml:"extra_token_params"`
	ScopeAliases       map[string]string `yaml:"scope_aliases"`
	ScopePrefix        string            `yaml:"scope_prefix"` // the server returns scopes that begin with it without it
	EmptyScope         string            `yaml:"empty_scope"`
	ExtraScopes        []string          `yaml:"extra_scopes"` // of presets that are chosen by name only
	RefreshScope       bool              `yaml:"refresh_scope"`
	RefreshDenied      []string          `yaml:"refresh_denied_errors"`
	RefreshIdle        string            `yaml:"refresh_idle"`
	RetryOn401         bool              `yaml:"retry_on_401"`
	RevocationEndpoint string            `yaml:"revocation_endpoint"`
	RevocationStyle    RevocationStyle   `yaml:"revocation_style"`       // "": RFC 7009
	NeverAuthorize     []string          `yaml:"never_authorize_params"` // the operator cannot set these
	WantsAuthorize     map[string]string `yaml:"wants_authorize_params"` // what is probably not meant where one is missing
	Sources            []string          `yaml:"sources"`                // pages of the service that say so
	TokenKinds         []dialect         `yaml:"token_kinds"`            // the first is the default; empty: standard replies
}

// A dialect is how an OAuth server's requests and replies differ from RFC 6749.
// The zero value is the standard.
type dialect struct {
	Name           string   `yaml:"name"`            // the token_kind that it is chosen by
	ScopeParameter string   `yaml:"scope_parameter"` // of the authorization URL; "": scope
	TokenAt        string   `yaml:"token_at"`        // the member of the reply that contains the token and its properties; "": the reply itself
	TokenType      string   `yaml:"token_type"`      // another name of bearer tokens
	UserID         []string `yaml:"user_id"`         // members of the reply, such as team.id, that identify the user together
}

// grant returns the part of a token reply that contains the tokens.
func (d *dialect) grant(r reply) reply {
	if d.TokenAt == "" {
		return r
	}
	part, _ := r[d.TokenAt].(map[string]any)
	return part
}

// user returns the id of the user in the reply, "" if there is none.
func (d *dialect) user(r reply) string {
	var ids []string
	for _, path := range d.UserID {
		at := r
		steps := strings.Split(path, ".")
		for _, step := range steps[:len(steps)-1] {
			at, _ = at[step].(map[string]any)
		}
		id := at.user(steps[len(steps)-1])
		if id == "" {
			return ""
		}
		ids = append(ids, id)
	}
	if id := strings.Join(ids, "/"); len(id) <= maxUserBytes {
		return id
	}
	return ""
}

// kind chooses the dialect by the field token_kind.
func (h *oauthDefaults) kind(name string) (d dialect, ok bool) {
	for i, d := range h.TokenKinds {
		if d.Name == name || name == "" && i == 0 {
			return d, true
		}
	}
	return dialect{}, name == ""
}

// kinds lists what token_kind can be.
func (h *oauthDefaults) kinds() string {
	var names []string
	for _, d := range h.TokenKinds {
		names = append(names, d.Name)
	}
	return strings.Join(names, " or ")
}

// fill uses a preset's defaults for fields that the operator did not write. A
// field that is written, if only as an empty text, is the operator's.
//
// Endpoints are different: they apply to the service's own hosts only. Tokens of
// an OAuth server elsewhere that works alike (GitHub Enterprise) must not be sent
// to the service. Its userinfo is looked for below its own API.
func (c *check) fill(p *Provider, s *serverFields, f *presetFile) {
	h := &f.OAuth
	if f.knows(p.TokenURL) {
		c.unwritten("issuer", &s.Issuer, h.Issuer)
		c.unwritten("userinfo_endpoint", &s.UserinfoEndpoint, h.UserinfoEndpoint)
		c.unwritten("revocation_endpoint", &s.RevocationEndpoint, h.RevocationEndpoint)
	} else if rest, below := strings.CutPrefix(h.UserinfoEndpoint, f.APIBase); below && rest != "" && p.APIBase != nil && !c.native {
		c.unwritten("userinfo_endpoint", &s.UserinfoEndpoint, p.APIBase.String()+rest)
		if rest, below := strings.CutPrefix(h.RevocationEndpoint, f.APIBase); below && rest != "" {
			c.unwritten("revocation_endpoint", &s.RevocationEndpoint, p.APIBase.String()+rest)
		}
	}
	p.revocation = h.RevocationStyle
	if s.UserinfoEndpoint != "" {
		c.unwritten("user_id_field", &s.UserIDField, h.UserIDField)
	}
	c.unwritten("scope_separator", &s.ScopeSeparator, h.ScopeSeparator)
	c.unwritten("empty_scope", &s.EmptyScope, h.EmptyScope)
	c.unwritten("refresh_idle", &s.RefreshIdle, h.RefreshIdle)
	if !c.Doc.Has(c.full("refresh_scope")...) {
		s.RefreshScope = h.RefreshScope
	}
	if !c.Doc.Has(c.full("retry_on_401")...) {
		s.RetryOn401 = h.RetryOn401
	}
	if !c.Doc.Has(c.full("refresh_denied_errors")...) {
		s.RefreshDenied = h.RefreshDenied
	}
	if !c.Doc.Has(c.full("extra_scopes")...) {
		c.extraScopes(p, h.ExtraScopes, s.Refresh)
	}
	s.ScopeAliases = fillParams(s.ScopeAliases, h.ScopeAliases)
	s.ExtraAuthorize = fillParams(s.ExtraAuthorize, h.ExtraAuthorize)
	s.ExtraToken = fillParams(s.ExtraToken, h.ExtraToken)
}

func (c *check) unwritten(name string, value *string, preset string) {
	if !c.Doc.Has(c.full(name)...) {
		*value = preset
	}
}

// offlineAccess is the scope that asks for a refresh token (OpenID Connect Core,
// section 11).
const offlineAccess = "offline_access"

// extraScopes are the preset's. Where nothing is refreshed no refresh token is
// asked for.
func (c *check) extraScopes(p *Provider, preset []string, refresh *bool) {
	for _, scope := range preset {
		if scope != offlineAccess || refresh == nil || *refresh {
			p.ExtraScopes = append(p.ExtraScopes, scope)
		}
	}
}

// prefixed returns the aliases with one for each scope that begins with the
// server's prefix, where it has none of its own.
func (h *oauthDefaults) prefixed(aliases map[string]string, available ath.Scopes) map[string]string {
	if h.ScopePrefix == "" {
		return aliases
	}
	all := maps.Clone(aliases)
	for _, s := range available {
		short, begins := strings.CutPrefix(s, h.ScopePrefix)
		if _, own := all[s]; begins && short != "" && !own && !available.Has(short) {
			all[s] = short
		}
	}
	return all
}

// fillParams adds the preset's parameters to the operator's. One that the
// operator gives an empty value is not sent.
func fillParams(own, preset map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range []map[string]string{preset, own} {
		for name, value := range m {
			all[name] = value
			if _, known := preset[name]; known && value == "" {
				delete(all, name)
			}
		}
	}
	return all
}

// presetsAt returns the presets of the services whose hosts one of the URLs
// is at.
func presetsAt(all []presetFile, urls ...*url.URL) []*presetFile {
	var at []*presetFile
	for i := range all {
		if !all[i].ByName && all[i].knows(urls...) {
			at = append(at, &all[i])
		}
	}
	return slices.Clip(at)
}

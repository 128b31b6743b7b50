package provider

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// A choice is which presets apply to a provider. OAuth server and API are chosen
// separately: an operator's own API may use GitHub's OAuth server, and an API of
// Google that no preset describes uses Google's.
type choice struct {
	speaks *presetFile // whose defaults the OAuth server has; nil: none known
	api    *presetFile // that describes the API; nil: none known
	opens  *presetFile // whose rules are the provider's: those of api, unless it has rules of its own
	moved  rebase      // from the preset's base to the provider's
}

// choose chooses presets by the field preset or, without one, by the hosts of the
// endpoints, and fills s with their defaults. noBase says that there is no
// api_base_url to read.
func (c *check) choose(p *Provider, s *serverFields, noBase bool) {
	at := presetsAt(c.presets, p.AuthorizeURL, p.TokenURL, c.issuer)
	named := slices.IndexFunc(c.presets, func(f presetFile) bool { return f.Name == s.Preset })
	switch {
	case s.Preset == noPreset:
		at, p.noPreset = nil, true
	case named >= 0:
		at = []*presetFile{&c.presets[named]}
	case s.Preset != "":
		c.fail("preset", "want one of "+c.presetNames()+" or none")
	}
	if named < 0 {
		c.adviseByName(p, s)
	}
	if len(at) > 0 {
		c.speaks = at[0] // presets of one host have the same defaults
	}
	if noBase {
		p.APIBase = c.defaultBase(p, at)
	}
	if s.Preset != noPreset {
		c.chooseRules(p, named)
	}
	switch {
	case c.opens != nil:
		p.Preset = c.opens.Name
	case len(at) == 1:
		p.Preset = at[0].Name
	}
	if c.speaks == nil {
		if s.TokenKind != "" {
			c.fail("token_kind", "is for presets of services that have several kinds of tokens")
		}
		return
	}
	c.ruleOut(p, s)
	c.adviseParameters(p, s)
	c.fill(p, s, c.speaks)
	d, ok := c.speaks.OAuth.kind(s.TokenKind)
	switch {
	case ok:
		p.dialect = d
	case len(c.speaks.OAuth.TokenKinds) == 0:
		c.fail("token_kind", "the service of preset "+c.speaks.Name+" has one kind of tokens only")
	default:
		c.fail("token_kind", "want "+c.speaks.OAuth.kinds())
	}
}

// defaultBase is the API's base where none is written: the preset's. It is
// taken only beside the service's own OAuth server: another one's tokens are
// not for that API.
func (c *check) defaultBase(p *Provider, at []*presetFile) *url.URL {
	at = slices.DeleteFunc(slices.Clone(at), func(f *presetFile) bool { return !f.describesAPI() })
	switch {
	case p.Discovered && (len(at) != 1 || !at[0].knows(c.issuer)):
		c.fail("api_base_url", "is missing")
		return nil
	case p.Discovered:
	case p.TokenURL == nil || p.AuthorizeURL == nil:
		return nil // reported already
	case len(at) != 1:
		return origin(p.AuthorizeURL)
	case !at[0].knows(p.TokenURL):
		c.fail("api_base_url", "is missing: token_endpoint is not at a host of preset "+at[0].Name)
		return nil
	}
	return c.base("api_base_url", at[0].APIBase, false)
}

// chooseRules finds the preset that describes the API, and takes its rules
// where the provider has none. At the service's own hosts the base path
// identifies the API and the place in it; at any other host the field preset is
// needed, and rules start at its base.
func (c *check) chooseRules(p *Provider, named int) {
	if c.native || p.APIBase == nil {
		return // the API is one's own
	}
	written := c.Doc.Has(c.full("scope_rules")...)
	if named >= 0 && c.presets[named].describesAPI() {
		f := &c.presets[named]
		moved, ok := f.place(p.APIBase)
		if !ok && len(presetsAt(c.presets, p.APIBase)) > 0 { // another API, known to be one
			if !written {
				c.fail("api_base_url", "the rules of preset "+f.Name+" are written for "+f.APIBase+", and this is neither above nor below it")
			}
			return
		}
		c.api, c.moved = f, moved
	} else {
		for i := range c.presets {
			if c.presets[i].ByName || !c.presets[i].describesAPI() {
				continue
			}
			moved, ok := c.presets[i].place(p.APIBase)
			switch {
			case ok && c.api != nil:
				c.api = nil // above several APIs: which one is meant is not known
				return
			case ok:
				c.api, c.moved = &c.presets[i], moved
			}
		}
	}
	if !written {
		c.opens = c.api
	}
}

// adviseByName warns of a preset that is only chosen by name, where the client id
// looks like one of its service's.
func (c *check) adviseByName(p *Provider, s *serverFields) {
	for i := range c.presets {
		f := &c.presets[i]
		if f.ByName && f.knows(p.TokenURL) && slices.ContainsFunc(f.ClientIDs, func(begin string) bool { return strings.HasPrefix(s.ClientID, begin) }) {
			c.warn("client_id", "looks like that of a "+f.Title+", whose tokens have no scopes, so that every consent would end without a token: set preset: "+f.Name)
		}
	}
}

// adviseParameters warns of a parameter without which the server does what is
// probably not meant. An indicator of the resource (RFC 8707) says as much.
func (c *check) adviseParameters(p *Provider, s *serverFields) {
	for _, param := range slices.Sorted(maps.Keys(c.speaks.OAuth.WantsAuthorize)) {
		_, given := s.ExtraAuthorize[param]
		if p.AuthorizeURL != nil {
			given = given || p.AuthorizeURL.Query().Has(param)
		}
		if !given && s.Resource == "" {
			c.warn("preset", "without "+param+" in extra_authorize_params, "+c.speaks.OAuth.WantsAuthorize[param])
		}
	}
}

// ruleOut refuses parameters that would change what the user is asked.
func (c *check) ruleOut(p *Provider, s *serverFields) {
	name := cmp.Or(p.Preset, c.speaks.Name)
	query := url.Values{}
	if p.AuthorizeURL != nil {
		query = p.AuthorizeURL.Query()
	}
	for _, param := range c.speaks.OAuth.NeverAuthorize {
		if _, given := s.ExtraAuthorize[param]; given {
			c.fail("extra_authorize_params", "preset "+name+" rules this parameter out", param)
		}
		if query.Has(param) {
			c.fail("authorize_endpoint", "the query contains "+param+", which preset "+name+" rules out")
		}
	}
}

func (c *check) presetNames() string {
	var names []string
	for _, f := range c.presets {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

package provider

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
)

// OAuth servers differ in the error codes for a user who declined, in the names
// of token types and in the names of scopes.

// declines are the error codes that mean that the user declined. RFC 6749 has
// access_denied only. Codes that mean that the server must ask the user
// (consent_required, interaction_required, login_required) are not among them.
var declines = []string{
	"access_denied", "access_declined",
	"authorization_declined", "authorization_denied",
	"cancelled", "canceled",
	"consent_declined", "consent_denied", "consent_rejected",
	"login_cancelled", "login_canceled",
	"permission_denied", "permissions_denied",
	"user_aborted", "user_cancel", "user_cancelled", "user_canceled",
	"user_cancelled_authorize", "user_canceled_authorize", "user_cancelled_login", "user_canceled_login", // LinkedIn, Apple
	"user_cancelled_consent", "user_canceled_consent", "user_cancelled_request", "user_canceled_request",
	"user_declined", "user_denied", "user_refused", "user_rejected",
}

// Declined reports whether an error code at the callback says that the user
// declined (C-5): one of the usual words, whatever its capitals and hyphens,
// or one of denied_errors.
func (p *Provider) Declined(code string) bool {
	if slices.Contains(p.DeniedErrors, code) {
		return true
	}
	return slices.Contains(declines, strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(code)))
}

// tokenTypes is what token_type may be beside bearer.
func (p *Provider) tokenTypes() []string {
	types := slices.Clone(p.TokenTypes)
	if p.dialect.TokenType != "" {
		types = append(types, p.dialect.TokenType)
	}
	return types
}

// consented interprets the scope of a token reply of this provider (C-4). Aliases
// are of the names that the reply has, and of no other alias.
func (p *Provider) consented(told ath.Scopes, given bool) (ath.Scopes, bool) {
	if given && len(told) == 0 && p.EmptyScope == EmptyAsRequested {
		return nil, false
	}
	said := told
	for _, asked := range slices.Sorted(maps.Keys(p.ScopeAliases)) {
		if said.Has(p.ScopeAliases[asked]) && !told.Has(asked) {
			told = append(slices.Clip(told), asked)
		}
	}
	if len(p.ExtraScopes) > 0 {
		told = told.Minus(p.ExtraScopes.Minus(p.Scopes)) // agents did not ask for them
	}
	return told, given
}

// What an empty scope in a token reply means.
const (
	EmptyAsNothing   = "nothing"      // the user allowed nothing: the default
	EmptyAsRequested = "as_requested" // the server has no scopes, as with GitHub Apps: something else bounds the token
)

func (c *check) words(p *Provider, s serverFields) {
	for i, kind := range s.TokenTypes {
		switch {
		case kind == "" || len(kind) > 64 || !ath.IsPrintable(kind):
			c.fail("token_types", "want 1 to 64 bytes of printable ASCII", i)
		case slices.Contains([]string{"dpop", "mac", "pop", "n_a", "n/a"}, strings.ToLower(kind)):
			c.fail("token_types", "a token of this type is no bearer token: athd cannot use it", i)
		}
	}
	for i, word := range s.DeniedErrors {
		if !validCode(word) {
			c.fail("denied_errors", "want an error code: 1 to 64 letters, digits, '_', '.' and '-'", i)
		}
	}
	if len(s.ScopeAliases) > ath.MaxScopes {
		c.fail("scope_aliases", fmt.Sprintf("more than %d scopes", ath.MaxScopes))
	}
	for asked, told := range s.ScopeAliases {
		if _, err := ath.ParseScopes([]string{asked, told}); err != nil {
			c.fail("scope_aliases", "want two scopes: the requested one, and the name that the server returns for it", asked)
		}
	}
	switch p.EmptyScope = s.EmptyScope; p.EmptyScope {
	case "":
		p.EmptyScope = EmptyAsNothing
	case EmptyAsNothing, EmptyAsRequested:
	default:
		c.fail("empty_scope", "want "+EmptyAsNothing+" or "+EmptyAsRequested)
	}
	p.TokenTypes, p.DeniedErrors, p.ScopeAliases = s.TokenTypes, s.DeniedErrors, s.ScopeAliases
}

// aliases adds those that the preset's prefix makes, and looks for aliases that
// do nothing or too much. It needs the available scopes.
func (c *check) aliases(p *Provider) {
	own := slices.Sorted(maps.Keys(p.ScopeAliases))
	if c.speaks != nil {
		own = slices.DeleteFunc(own, func(asked string) bool { return c.speaks.OAuth.ScopeAliases[asked] != "" })
		p.ScopeAliases = c.speaks.OAuth.prefixed(p.ScopeAliases, p.Scopes)
	}
	first := map[string]string{}
	for _, asked := range own {
		told := p.ScopeAliases[asked]
		if !slices.Contains(p.Scopes, asked) && !slices.Contains(p.ExtraScopes, asked) {
			c.warn("scope_aliases", "is of no scope in available_scopes", asked)
		}
		if other, ok := first[told]; ok {
			c.warn("scope_aliases", "the server returns this scope and "+Quoted(other)+" under one name, so that a user who allows one of them allows both", asked)
			continue
		}
		first[told] = asked
	}
}

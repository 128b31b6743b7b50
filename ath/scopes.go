package ath

import (
	"fmt"
	"slices"
	"strings"
)

// Limits on scopes that arrive from outside: an agent's request or a
// provider's token reply.
const (
	MaxScopeBytes = 256
	MaxScopes     = 200
)

// Scopes is an ordered list of OAuth scopes without repetition. The zero
// value allows nothing.
type Scopes []string

// ParseScopes checks every scope against the scope-token syntax of RFC 6749,
// section 3.3, and drops repetitions; the order is kept.
func ParseScopes(list []string) (Scopes, error) {
	if len(list) > MaxScopes {
		return nil, fmt.Errorf("more than %d scopes", MaxScopes)
	}
	for _, s := range list {
		if err := checkScope(s); err != nil {
			return nil, err
		}
	}
	return Scopes(list).distinct(), nil
}

// SplitScopes reads the scope parameter of a token reply: separated by spaces
// (RFC 6749, section 3.3) or by commas, as some providers do (C-4).
func SplitScopes(s string) (Scopes, error) {
	return ParseScopes(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' }))
}

func checkScope(s string) error {
	if s == "" {
		return fmt.Errorf("a scope is empty")
	}
	if len(s) > MaxScopeBytes {
		return fmt.Errorf("a scope is longer than %d bytes", MaxScopeBytes)
	}
	// scope-token = 1*( %x21 / %x23-5B / %x5D-7E ); the comma separates scopes at
	// some providers, so that no scope can hold one here.
	if !IsVisible(s) || strings.ContainsAny(s, `"\,`) {
		return fmt.Errorf("scope %q contains a character that is not allowed in a scope", s)
	}
	return nil
}

// Has reports whether scope is in the list, compared byte for byte.
func (s Scopes) Has(scope string) bool { return slices.Contains(s, scope) }

// Contain reports whether all of the other scopes are among s.
func (s Scopes) Contain(other Scopes) bool {
	for _, scope := range other {
		if !s.Has(scope) {
			return false
		}
	}
	return true
}

// Intersect returns the scopes of s that are in other too, in the order of s.
func (s Scopes) Intersect(other Scopes) Scopes { return s.filter(other, true) }

// Minus returns the scopes of s that are not in other, in the order of s.
func (s Scopes) Minus(other Scopes) Scopes { return s.filter(other, false) }

// Union returns s followed by the scopes of other that s lacks, each once.
func (s Scopes) Union(other Scopes) Scopes {
	return append(slices.Clone(s), other.Minus(s).distinct()...)
}

// linear is how many comparisons are cheaper than a table. Lists come from
// agents and providers: no work grows with the product of two of them.
const linear = 256

// filter returns what is in other, or what is not.
func (s Scopes) filter(other Scopes, in bool) Scopes {
	out := make(Scopes, 0, len(s))
	if len(s)*len(other) <= linear {
		for _, x := range s {
			if other.Has(x) == in {
				out = append(out, x)
			}
		}
		return out
	}
	table := make(map[string]struct{}, len(other))
	for _, x := range other {
		table[x] = struct{}{}
	}
	for _, x := range s {
		if _, has := table[x]; has == in {
			out = append(out, x)
		}
	}
	return out
}

// distinct returns a copy of s in which each is once, where it was first.
func (s Scopes) distinct() Scopes {
	out := make(Scopes, 0, len(s))
	if len(s)*len(s) <= linear {
		for _, x := range s {
			if !out.Has(x) {
				out = append(out, x)
			}
		}
		return out
	}
	seen := make(map[string]struct{}, len(s))
	for _, x := range s {
		if _, twice := seen[x]; !twice {
			seen[x] = struct{}{}
			out = append(out, x)
		}
	}
	return out
}

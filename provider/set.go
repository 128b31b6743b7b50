package provider

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// DefaultName is the name under which clients of a server with one app may
// ask for that app (T-5). No provider can have it as its id (O-2).
const DefaultName = "default"

// ValidID reports whether id has the form of a provider id,
// [a-z0-9][a-z0-9_-]{0,62} (O-2).
func ValidID(id string) bool {
	for i := range len(id) {
		c := id[i]
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '-') {
			return false
		}
	}
	return 1 <= len(id) && len(id) <= 63
}

// A Set is all providers and apps of a server; they share one namespace. It
// is immutable. A nil Set is empty.
type Set struct {
	byID map[string]*Provider
	all  []*Provider
}

// NewSet returns the set of these providers.
func NewSet(all ...*Provider) (*Set, error) {
	s := &Set{byID: make(map[string]*Provider, len(all))}
	var errs []error
	for _, p := range all {
		switch {
		case p == nil:
			errs = append(errs, errors.New("a provider is nil"))
		case p.ID == DefaultName:
			errs = append(errs, errors.New(`the provider id "default" is reserved`))
		case !ValidID(p.ID):
			errs = append(errs, fmt.Errorf("provider id %q is malformed", p.ID))
		case s.byID[p.ID] != nil:
			errs = append(errs, fmt.Errorf("provider id %q is given twice; apps and providers share one namespace", p.ID))
		default:
			s.byID[p.ID] = p
			s.all = append(s.all, p)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	slices.SortFunc(s.all, func(a, b *Provider) int { return strings.Compare(a.ID, b.ID) })
	return s, nil
}

// Get returns the provider with this id, nil if there is none.
func (s *Set) Get(id string) *Provider {
	if s == nil {
		return nil
	}
	return s.byID[id]
}

// Lookup returns the provider that an agent means by name: an id, or
// [DefaultName] for the only app there is. nil if there is none.
func (s *Set) Lookup(name string) *Provider {
	if name == DefaultName {
		if apps := s.Apps(); len(apps) == 1 {
			return apps[0]
		}
		return nil
	}
	return s.Get(name)
}

// All returns the providers and apps, ordered by id.
func (s *Set) All() []*Provider {
	if s == nil {
		return nil
	}
	return slices.Clone(s.all)
}

// Apps returns the providers that are native apps, ordered by id.
func (s *Set) Apps() []*Provider {
	return slices.DeleteFunc(s.All(), func(p *Provider) bool { return p.App == nil })
}

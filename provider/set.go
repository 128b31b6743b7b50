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

// ValidAppID reports whether id has the form of an app's id or of another name
// of it, [A-Za-z0-9][A-Za-z0-9._-]{0,126} (O-2): com.acme.api is the tutorial's
// example. It is one segment of a path, as it is written, and never "." or "..".
func ValidAppID(id string) bool {
	for i := range len(id) {
		c := id[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return 1 <= len(id) && len(id) <= 127
}

// A Set is all providers and apps of a server; they share one namespace. It
// is immutable. A nil Set is empty.
type Set struct {
	byName map[string]*Provider
	all    []*Provider
}

// NewSet returns the set of these providers.
func NewSet(all ...*Provider) (*Set, error) {
	s := &Set{byName: make(map[string]*Provider, len(all))}
	var errs []error
	for _, p := range all {
		if p == nil {
			errs = append(errs, errors.New("a provider is nil"))
			continue
		}
		if err := s.add(p); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	slices.SortFunc(s.all, func(a, b *Provider) int { return strings.Compare(a.ID, b.ID) })
	return s, nil
}

func (s *Set) add(p *Provider) error {
	for i, name := range p.Names() {
		switch {
		case name == DefaultName:
			return errors.New(`the provider id "default" is reserved`)
		case i == 0 && p.App == nil && !ValidID(name), p.App != nil && !ValidAppID(name), i > 0 && !ValidAppID(name):
			return fmt.Errorf("provider id %q is malformed", name)
		case s.byName[name] != nil:
			return fmt.Errorf("provider id %q is given twice; apps and providers share one namespace", name)
		}
		s.byName[name] = p
	}
	s.all = append(s.all, p)
	return nil
}

// Get returns the provider that goes by this name, nil if there is none.
func (s *Set) Get(name string) *Provider {
	if s == nil {
		return nil
	}
	return s.byName[name]
}

// Lookup returns the provider that an agent means by name: one of its names, or
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

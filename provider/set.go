package provider

import (
	"errors"
	"fmt"
	"slices"
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
	byName   Table[*Provider]
	all      parts
	len      int         // of all
	apps     []*Provider // those of all
	open     []*Provider // those of all that are clients without a secret
	unloaded bool
}

// NewSet returns the set of these providers.
func NewSet(all ...*Provider) (*Set, error) { return (*Set)(nil).With(nil, all...) }

// With returns a set without those of some ids, and with others, which take the
// places of those of their ids. It costs little where they are few, however many
// others there are.
func (s *Set) With(gone []string, come ...*Provider) (*Set, error) {
	next := &Set{}
	if s != nil {
		*next = *s
	}
	edit, left, apps, open := next.byName.Edit(), map[string]bool{}, false, false
	leave := func(id string) {
		p := s.Get(id)
		if p == nil || p.ID != id || left[id] {
			return
		}
		left[id], apps, open = true, apps || p.App != nil, open || p.AuthMethod == NoClientAuth
		for _, name := range p.Names() {
			edit.Delete(name)
		}
	}
	for _, id := range gone {
		leave(id)
	}
	for _, p := range come {
		if p != nil {
			leave(p.ID)
		}
	}
	var errs []error
	added := make([]*Provider, 0, len(come))
	for _, p := range come {
		if p == nil {
			errs = append(errs, errors.New("a provider is nil"))
			continue
		}
		if err := addTo(edit, p); err != nil {
			errs = append(errs, err)
		}
		added, apps, open = append(added, p), apps || p.App != nil, open || p.AuthMethod == NoClientAuth
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	next.byName, next.len, next.all = edit.Table(), next.len-len(left)+len(added), s.list().merge(added, left)
	if apps {
		next.apps = next.those(func(p *Provider) bool { return p.App != nil })
	}
	if open {
		next.open = next.those(func(p *Provider) bool { return p.AuthMethod == NoClientAuth })
	}
	return next, nil
}

// those are the providers of which is returns true.
func (s *Set) those(is func(*Provider) bool) (out []*Provider) {
	s.all.each(func(p *Provider) bool {
		if is(p) {
			out = append(out, p)
		}
		return true
	})
	return out
}

// list is all of them.
func (s *Set) list() parts {
	if s == nil {
		return nil
	}
	return s.all
}

func addTo(edit *TableEdit[*Provider], p *Provider) error {
	for i, name := range p.Names() {
		taken, _ := edit.Get(name)
		switch {
		case name == DefaultName:
			return errors.New(`the provider id "default" is reserved`)
		case i == 0 && p.App == nil && !ValidID(name), p.App != nil && !ValidAppID(name), i > 0 && !ValidAppID(name):
			return fmt.Errorf("provider id %q is malformed", name)
		case taken != nil:
			return fmt.Errorf("provider id %q is given twice; apps and providers share one namespace", name)
		}
		edit.Set(name, p)
	}
	return nil
}

// Diff says how two sets differ: which providers are not in the second, and which are
// not in the first. One that was replaced is in both. Where one set was made of the
// other it looks only where something changed.
func Diff(before, now *Set) (gone, come []*Provider) {
	a, b := others(before.list(), now.list())
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] == b[0]:
			a, b = a[1:], b[1:]
		case a[0].ID < b[0].ID:
			gone, a = append(gone, a[0]), a[1:]
		case a[0].ID > b[0].ID:
			come, b = append(come, b[0]), b[1:]
		default:
			gone, come = append(gone, a[0]), append(come, b[0])
			a, b = a[1:], b[1:]
		}
	}
	return append(gone, a...), append(come, b...)
}

// Unloaded returns the set as one of before the run-time providers were ever read
// from Redis: which of them there are is not known.
func (s *Set) Unloaded() *Set { return s.loaded(false) }

// AsLoaded returns the set as one of after that.
func (s *Set) AsLoaded() *Set { return s.loaded(true) }

func (s *Set) loaded(is bool) *Set {
	out := Set{}
	if s != nil {
		out = *s
	}
	out.unloaded = !is
	return &out
}

// Loaded is false of a set of before the run-time providers were ever read
// ([Set.Unloaded]). A name that is not in it may be one of theirs.
func (s *Set) Loaded() bool { return s == nil || !s.unloaded }

// Get returns the provider that goes by this name, nil if there is none.
func (s *Set) Get(name string) *Provider {
	if s == nil {
		return nil
	}
	p, _ := s.byName.Get(name)
	return p
}

// Lookup returns the provider that an agent means by name: one of its names, or
// [DefaultName] for the only app there is. nil if there is none.
func (s *Set) Lookup(name string) *Provider {
	if name == DefaultName {
		if s != nil && len(s.apps) == 1 {
			return s.apps[0]
		}
		return nil
	}
	return s.Get(name)
}

// Len is how many providers and apps there are.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return s.len
}

// All returns the providers and apps, ordered by id.
func (s *Set) All() []*Provider { return slices.Concat(s.list()...) }

// Each calls use with each of them, ordered by id, until it returns false.
func (s *Set) Each(use func(*Provider) bool) { s.list().each(use) }

// Apps returns the providers that are native apps, ordered by id.
func (s *Set) Apps() []*Provider {
	if s == nil {
		return nil
	}
	return slices.Clone(s.apps)
}

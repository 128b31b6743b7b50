package ath

import (
	"errors"
	"strings"
)

// A HostPattern names hosts as operators do: one host by its name, or with
// "*." in front all hosts below that name, at any depth, and not itself. It matches
// any port: all ports of a host have one owner. The zero value matches nothing.
type HostPattern struct {
	name  string
	below bool
}

// ParseHostPattern reads a pattern in any spelling that [ParseHost] takes.
func ParseHostPattern(s string) (HostPattern, error) {
	name, below := strings.CutPrefix(s, "*.")
	if strings.Contains(name, "*") {
		return HostPattern{}, errors.New(`a "*" stands in front only, as in *.example.com`)
	}
	h, err := ParseHost(name)
	switch {
	case err != nil:
		return HostPattern{}, err
	case h.Port() != 0:
		return HostPattern{}, errors.New("a pattern of hosts names no port: it is meant for all of them")
	case below && h.IsAddr():
		return HostPattern{}, errors.New("there are no hosts below an address")
	}
	return HostPattern{name: h.Name(), below: below}, nil
}

// Match reports whether the host, on whatever port, is one that p names.
func (p HostPattern) Match(h Host) bool {
	if p.name == "" || !p.below {
		return p.name != "" && h.name == p.name
	}
	return len(h.name) > len(p.name)+1 && strings.HasSuffix(h.name, p.name) && h.name[len(h.name)-len(p.name)-1] == '.'
}

// IsZero reports whether p matches nothing.
func (p HostPattern) IsZero() bool { return p.name == "" }

// String returns the pattern in its one form; "" for the zero value.
func (p HostPattern) String() string {
	host := Host{name: p.name}.String()
	if p.below {
		return "*." + host
	}
	return host
}

// MarshalText returns [HostPattern.String].
func (p HostPattern) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is [ParseHostPattern].
func (p *HostPattern) UnmarshalText(text []byte) (err error) {
	*p, err = ParseHostPattern(string(text))
	return err
}

// PatternsOf returns every pattern that matches the host: itself, and one for
// each name above it: a set of patterns is searched by looking these up.
func PatternsOf(h Host) []HostPattern {
	if h.IsZero() {
		return nil
	}
	out := []HostPattern{{name: h.name}}
	if h.IsAddr() {
		return out
	}
	for rest := h.name; ; {
		_, above, found := strings.Cut(rest, ".")
		if !found {
			return out
		}
		out = append(out, HostPattern{name: above, below: true})
		rest = above
	}
}

package provider

import (
	"net/url"
	"slices"
	"strings"
)

// A rebase moves a path that is relative to one base to another base at the
// same host: one of the two base paths is a prefix of the other. The zero
// value moves nothing.
type rebase struct {
	longer  []string // segments that paths get in front, where the new base is shorter
	shorter []string // segments that paths must begin with, where it is longer
}

// newRebase compares the base that paths are written for with the base that
// requests are cut at. ok is false if neither path is a prefix of the other.
func newRebase(written, cut *url.URL) (m rebase, ok bool) {
	w, c := baseSegments(written), baseSegments(cut)
	n := min(len(w), len(c))
	if !slices.Equal(w[:n], c[:n]) {
		return rebase{}, false
	}
	return rebase{longer: w[n:], shorter: c[n:]}, true
}

func baseSegments(u *url.URL) []string {
	path := strings.Trim(u.EscapedPath(), "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// apply moves a pattern. ok is false if nothing that it matches is below the
// new base.
func (m rebase) apply(p pattern) (_ pattern, ok bool) {
	segments := p.segments
	for _, s := range m.shorter {
		switch {
		case len(segments) > 0 && (segments[0] == s || segments[0] == "*"):
			segments = segments[1:]
		case len(segments) > 0 || !p.rest:
			return pattern{}, false
		}
	}
	return pattern{slices.Concat(m.longer, segments), p.rest}, true
}

// String returns the pattern as it is written in a rule.
func (p pattern) String() string {
	path := "/" + strings.Join(p.segments, "/")
	if !p.rest {
		return path
	}
	return strings.TrimSuffix(path, "/") + "/**"
}

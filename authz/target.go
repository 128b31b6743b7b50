package authz

import (
	"strings"

	"github.com/athd/athd/ath"
)

// methods that an agent may use. A list, since Envoy passes any token (get,
// FOO!, TRACE).
func methodAllowed(m string) bool {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return true
	}
	return false
}

const maxTargetBytes = 16 << 10

// splitTarget cuts a raw :path below its mount into segments, and reports
// whether it is canonical: whether every server on the way, whatever it
// decodes, joins or strips, reads it as the same segments. What is not is
// refused, never repaired (P-7).
//
// Segments stay percent-encoded as they came. "/" has none; a path that ends
// with a slash ends with an empty segment. What may is a part of a segment
// where it is encoded.
func splitTarget(raw, mount string, may ath.Encodable) (segments []string, query string, ok bool) {
	if len(raw) > maxTargetBytes {
		return nil, "", false
	}
	path, query, _ := strings.Cut(raw, "?")
	if !ath.IsVisible(query) || strings.Contains(query, "#") {
		return nil, "", false
	}
	if mount == "" {
		mount = "/"
	}
	rest, mounted := strings.CutPrefix(path, mount)
	if !mounted || mount[0] != '/' || mount[len(mount)-1] != '/' {
		return nil, "", false
	}
	if rest == "" {
		return nil, query, true
	}
	segments = strings.Split(rest, "/")
	for i, s := range segments {
		if s == "" && i == len(segments)-1 {
			break // a trailing slash
		}
		if !may.Canonical(s) {
			return nil, "", false
		}
	}
	return segments, query, true
}

// HoldsToken reports whether s contains the prefix of an ATH token or a renewal token,
// however it is spelled.
func HoldsToken(s string) bool { return holdsToken(s) }

// holdsToken reports whether s contains the prefix of an ATH token or a renewal token,
// also under percent-encoding (once or repeatedly) and in any case: a token that is
// written anywhere but in its header would reach the API and its logs (P-5).
func holdsToken(s string) bool {
	for range 4 {
		if holdsPrefix(s) {
			return true
		}
		next := unescapeLoosely(s)
		if next == s {
			return false
		}
		s = next
	}
	return true // encoded deeper than anyone does
}

// holdsPrefix reports whether s contains such a prefix in any case. It allocates
// nothing, and looks for the underscore first, which few targets have: it is
// asked of every target.
func holdsPrefix(s string) bool {
	const before = len("ath")
	for from := 0; ; {
		i := strings.IndexByte(s[from:], '_')
		if i < 0 {
			return false
		}
		i += from
		if i >= before && ath.HasTokenPrefix(s[i-before:]) {
			return true
		}
		from = i + 1
	}
}

// unescapeLoosely decodes every valid %XX and leaves the rest as it is.
func unescapeLoosely(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := anyHex(s[i+1]), anyHex(s[i+2]); hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func anyHex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

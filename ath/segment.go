package ath

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// CanonicalSegment reports whether a path segment, as it is written in a
// request, has one reading only (P-7). It allows what RFC 3986 calls pchar,
// less ';', which some servers cut parameters at, and less every
// percent-encoding that another reader could take for something else: of
// unreserved characters (two spellings), of anything that delimits ('/', '\',
// '%', '?', '#', ';', in their full-width and other compatibility forms too),
// of control characters, of bytes that are not UTF-8, or in lower-case hex.
// A segment of which nothing is left once dots, spaces and what is invisible
// are stripped is refused: servers take it for "..", "." or none at all.
//
// What only changes a segment's name and never where it begins or ends passes:
// ".json" behind it, a trailing dot or space that Windows drops, "~1", another
// normalization form, marks of writing direction. Rules allow and never
// forbid, so that another name can reach nothing that no rule allows.
func CanonicalSegment(s string) bool {
	var decoded []byte // only when something is encoded
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '%' {
			if !unreserved(c) && strings.IndexByte("!$&'()*+,=:@", c) < 0 {
				return false
			}
			if decoded != nil {
				decoded = append(decoded, c)
			}
			continue
		}
		if i+2 >= len(s) {
			return false
		}
		hi, lo := upperHex(s[i+1]), upperHex(s[i+2])
		if hi < 0 || lo < 0 {
			return false
		}
		b := byte(hi<<4 | lo)
		if b < ' ' || b == 0x7f || unreserved(b) || strings.IndexByte(delimiters, b) >= 0 {
			return false
		}
		if decoded == nil {
			decoded = append(make([]byte, 0, len(s)), s[:i]...)
		}
		decoded = append(decoded, b)
		i += 2
	}
	if decoded == nil {
		return strings.Trim(s, ".+") != ""
	}
	return oneReading(decoded)
}

// CanonicalSlashedSegment is [CanonicalSegment] for APIs that take "%2F" as a
// part of a segment: what stands between, before and behind each "%2F" must be
// canonical by itself, so that whoever decodes it finds no empty, "." or ".."
// segment either.
func CanonicalSlashedSegment(s string) bool {
	for part := range strings.SplitSeq(s, "%2F") {
		if !CanonicalSegment(part) {
			return false
		}
	}
	return true
}

// delimiters end a segment, or what it says, for one server or another.
const delimiters = `/\%?#;`

// lookalikes become delimiters where a server normalizes (NFC makes ';' of
// U+037E; NFKC does the rest) or fits text into a smaller character set.
const lookalikes = "\u037e\u2044\u2047\u2048\u2049\u2100\u2101\u2105\u2106\u2215\u2216" +
	"\ufe14\ufe16\ufe54\ufe56\ufe5f\ufe68\ufe6a\uff03\uff05\uff0f\uff1b\uff1f\uff3c"

// oneReading judges a decoded segment as text.
func oneReading(decoded []byte) bool {
	solid := false
	for len(decoded) > 0 {
		r, size := utf8.DecodeRune(decoded)
		if r == utf8.RuneError && size == 1 || unicode.IsControl(r) || r >= utf8.RuneSelf && strings.ContainsRune(lookalikes, r) {
			return false
		}
		solid = solid || !hollow(r)
		decoded = decoded[size:]
	}
	return solid
}

// hollow reports whether r is a dot, a space ('+' is one to some) or nothing
// that can be seen.
func hollow(r rune) bool {
	if r < utf8.RuneSelf {
		return r == '.' || r == '+' || r == ' '
	}
	return strings.ContainsRune("\u2024\u2025\u2026\u3002\ufe19\ufe30\ufe52\uff0e\uff61", r) ||
		unicode.In(r, unicode.Z, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func upperHex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

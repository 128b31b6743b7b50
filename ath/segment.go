package ath

import (
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CanonicalSegment reports whether every server reads a path segment, as it is
// written in a request, in the same way (P-7). It allows what RFC 3986 calls pchar,
// less ';', which some servers cut parameters at, and less every
// percent-encoding that another reader could take for something else: of
// unreserved characters (two spellings), of anything that delimits ('/', '\',
// '%', '?', '#', ';', in their full-width and other compatibility forms too),
// of control characters, of bytes that are not UTF-8, or in lower-case hex.
// A segment of which nothing is left once dots, spaces and what is invisible
// are stripped is refused: servers take it for "..", "." or none at all, which
// would be path traversal.
//
// What only changes a segment's name, and never where it begins or ends, passes:
// a suffix such as ".json", a trailing dot or space that Windows drops, "~1",
// another normalization form, marks of writing direction. Rules only allow, so that
// another name reaches nothing that no rule allows.
func CanonicalSegment(s string) bool { return canonical(s, 0) }

// Encodable is a set of delimiters that an API accepts inside of a segment, if they
// are percent-encoded in upper-case hex. The zero value is none.
type Encodable uint8

// The delimiters that an API may take as parts of a segment.
const (
	EncodedSlash    Encodable = 1 << iota // %2F
	EncodedHash                           // %23
	EncodedQuestion                       // %3F
	EncodedPercent                        // %25
)

// Encodables returns the set of the delimiters in chars, of '/', '#', '?' and
// '%'; ok is false if another character is among them.
func Encodables(chars string) (e Encodable, ok bool) {
	for i := range len(chars) {
		one := encodable(chars[i])
		if one == 0 {
			return 0, false
		}
		e |= one
	}
	return e, true
}

func encodable(c byte) Encodable {
	switch c {
	case '/':
		return EncodedSlash
	case '#':
		return EncodedHash
	case '?':
		return EncodedQuestion
	case '%':
		return EncodedPercent
	}
	return 0
}

// Delimiters returns the set as a list, without the slash, as configurations
// write it.
func (e Encodable) Delimiters() []string {
	var out []string
	for _, c := range []byte("#?%") {
		if e&encodable(c) != 0 {
			out = append(out, string(c))
		}
	}
	return out
}

// Canonical is [CanonicalSegment] for an API that takes these delimiters as
// parts of a segment. It stays as strict as it can for servers that do
// otherwise:
//
//   - what stands between, before and behind each "%2F" must be canonical by
//     itself, so that decoding it makes no empty, "." or ".." segment;
//   - what stands before a "%23" or "%3F", where another server would end the
//     path, is nothing or no dot segment;
//   - what a "%25" makes is decoded again, and again, until nothing changes:
//     none of these readings may hold what is not in the set ("%252F" is "%2F"
//     is "/"), nor a dot segment.
func (e Encodable) Canonical(s string) bool {
	if e&EncodedSlash == 0 {
		return canonical(s, e)
	}
	for part := range strings.SplitSeq(s, "%2F") {
		if !canonical(part, e) {
			return false
		}
	}
	return true
}

func canonical(s string, e Encodable) bool {
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
		if b < ' ' || b == 0x7f || unreserved(b) {
			return false
		}
		// A slash between parts is not in them: see Canonical.
		if strings.IndexByte(delimiters, b) >= 0 && encodable(b)&e&^EncodedSlash == 0 {
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
	return oneReading(decoded) && (e == 0 || e.deeper(string(decoded)))
}

// deeper judges a decoded segment that may hold delimiters of the set: by what
// is left where they end the path, and by what decoding it again would make.
func (e Encodable) deeper(decoded string) bool {
	for range maxDecodings {
		for part := range strings.SplitSeq(decoded, "/") {
			if head := part[:max(0, strings.IndexAny(part, "#?"))]; head != "" && !oneReading([]byte(head)) {
				return false
			}
		}
		again := unescape(decoded)
		if again == decoded {
			return !percentU(decoded)
		}
		for part := range strings.SplitSeq(again, "/") {
			if e&EncodedSlash == 0 && part != again || !oneReading([]byte(part)) {
				return false
			}
		}
		if strings.ContainsAny(again, `\;`) || e&EncodedHash == 0 && strings.Contains(again, "#") || e&EncodedQuestion == 0 && strings.Contains(again, "?") {
			return false
		}
		decoded = again
	}
	return false
}

// maxDecodings bounds the work on one segment: no client encodes deeper.
const maxDecodings = 4

// unescape decodes every %XX, in either case, and leaves the rest as it is.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b.WriteByte(c[0])
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// percentU reports whether s contains %u and four hexadecimal digits, which
// IIS decodes.
func percentU(s string) bool {
	for rest := s; ; {
		i := strings.Index(strings.ToLower(rest), "%u")
		if i < 0 {
			return false
		}
		if rest = rest[i+2:]; len(rest) >= 4 {
			if _, err := hex.DecodeString(rest[:4]); err == nil {
				return true
			}
		}
	}
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

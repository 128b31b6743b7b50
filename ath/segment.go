package ath

import (
	"strings"
	"unicode/utf8"
)

// CanonicalSegment reports whether a path segment, as it is written in a
// request, has one reading only (P-7). It allows what RFC 3986 calls pchar,
// less ';', which some servers cut parameters at, and less every
// percent-encoding that another reader could take for something else: of unreserved characters (two
// spellings), of anything that delimits ('/', '\', '%', '?', '#', ';'), of
// control characters, of bytes that are not UTF-8, or in lower-case hex.
// A segment of dots only is refused, however many.
func CanonicalSegment(s string) bool {
	if strings.Trim(s, ".") == "" {
		return false
	}
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
		if b < ' ' || b == 0x7f || unreserved(b) || strings.IndexByte(`/\%?#;`, b) >= 0 {
			return false
		}
		if decoded == nil {
			decoded = append(make([]byte, 0, len(s)), s[:i]...)
		}
		decoded = append(decoded, b)
		i += 2
	}
	return decoded == nil || utf8.Valid(decoded)
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

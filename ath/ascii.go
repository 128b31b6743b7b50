package ath

import "strings"

// What may stand in URLs, headers and lines of text, one definition each.
// Every byte is looked at; an empty string passes but for [IsToken].

// IsVisible reports whether s is visible ASCII only: VCHAR of RFC 5234,
// appendix B.1, and so no space, control character or byte beyond ASCII.
func IsVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// IsPrintable reports whether s is visible ASCII and spaces only: no CR, LF
// or NUL that would end a header or a line (header injection). It is field-content of RFC 9110,
// section 5.5, less tabs and obs-text.
func IsPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// ValidURLBytes reports whether s contains only what a URI may contain as it is:
// unreserved and reserved characters and '%' (RFC 3986, section 2). What
// net/url and browsers would repair or ignore is not among them.
func ValidURLBytes(s string) bool { return IsVisible(s) && !strings.ContainsAny(s, "\\\"<>^`{|}") }

// IsToken reports whether s is a token, such as the name of a header field
// (RFC 9110, section 5.6.2). An empty s is none.
func IsToken(s string) bool {
	return s != "" && IsVisible(s) && !strings.ContainsAny(s, "\"(),/:;<=>?@[\\]{}")
}

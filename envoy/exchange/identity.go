package exchange

import (
	"strings"

	"github.com/athd/athd/envoy"
)

// identifies reports whether a name, with hyphens or underscores, is one of
// these.
func identifies(name []byte) bool {
	if len(name) < len("x-user") {
		return false
	}
	// Nearly every name that is none is seen by its first three letters.
	switch first := string(name[:3]); name[0] | 0x20 {
	case 'x':
	case 'r', 's', 't', 'c':
		if !strings.EqualFold(first, "rem") && !strings.EqualFold(first, "ssl") && !strings.EqualFold(first, "tai") && !strings.EqualFold(first[:2], "cf") {
			return false
		}
	default:
		return false
	}
	for _, h := range envoy.IdentityHeaders {
		if len(h) == len(name) && foldedPrefix(name, h) {
			return true
		}
	}
	for _, p := range envoy.IdentityPrefixes {
		if len(name) >= len(p) && foldedPrefix(name, p) {
			return true
		}
	}
	return false
}

// foldedPrefix compares the beginning of a name with a text in lower case with
// hyphens, which is no longer.
func foldedPrefix(name []byte, lower string) bool {
	for i := range len(lower) {
		switch c := name[i]; {
		case lower[i] == '-':
			if c != '-' && c != '_' {
				return false
			}
		case 'A' <= c && c <= 'Z':
			if c|0x20 != lower[i] {
				return false
			}
		case c != lower[i]:
			return false
		}
	}
	return true
}

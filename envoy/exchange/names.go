package exchange

import (
	"strings"
	"unicode/utf8"

	"github.com/athd/athd/envoy"
)

// Wanted reports whether a decision may use the header of this name: for those who
// would not copy the others.
func Wanted(name []byte) bool {
	if len(name) == 0 {
		return false
	}
	is := func(s string) bool { return strings.EqualFold(string(name), s) }
	switch name[0] | 0x20 {
	case ':':
		return is(":method") || is(":path") || !ascii(name)
	case 'a':
		return is(envoy.HeaderAuthorization) || !ascii(name)
	case 'c':
		return is(envoy.HeaderCookie) || identifies(name) || !ascii(name)
	case 'u':
		return is(envoy.HeaderUpgrade) || !ascii(name)
	case 'x':
		return startsOurs(name) || overrides(name) || identifies(name) || is(envoy.HeaderForwardedFor) || !ascii(name)
	case 'r', 's', 't':
		return identifies(name) || !ascii(name)
	}
	return !ascii(name)
}

// ascii reports whether a name may be that of a header: what may not is judged
// elsewhere, not here.
func ascii(name []byte) bool {
	for _, c := range name {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// startsOurs reports whether a name starts with envoy.HeaderPrefix, to which many
// servers count underscores.
func startsOurs(name []byte) bool {
	return len(name) >= len(envoy.HeaderPrefix) && name[0]|0x20 == 'x' && foldedPrefix(name, envoy.HeaderPrefix)
}

// overrides reports whether a name is one of envoy.OverrideHeaders, with underscores
// or not.
func overrides(name []byte) bool {
	for _, h := range envoy.OverrideHeaders {
		if len(h) == len(name) && foldedPrefix(name, h) {
			return true
		}
	}
	return false
}

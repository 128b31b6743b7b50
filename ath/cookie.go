package ath

import "strings"

// CookiePrefix starts the name of every cookie of athd's, after __Host- on https. No such cookie goes to an API (P-5).
const CookiePrefix = "ath_consent_"

// IsOurCookie reports whether a cookie of this name was set by athd.
func IsOurCookie(name string) bool {
	return strings.HasPrefix(strings.TrimPrefix(name, "__Host-"), CookiePrefix)
}

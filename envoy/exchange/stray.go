package exchange

import (
	"bytes"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
)

// Strays reports whether a header in which no ATH token and no renewal token belongs
// holds what looks like one: it would reach the API, and its log. Authorization, cookies,
// method and path are judged where they are read, and what begins with x-ath-
// no API is shown.
func Strays(name, value []byte) bool { return looksLikeToken(value) && !mayHoldToken(name) }

func mayHoldToken(name []byte) bool {
	is := func(s string) bool { return bytes.EqualFold(name, []byte(s)) }
	return is(envoy.HeaderAuthorization) || is(envoy.HeaderCookie) || is(":path") || is(":method") || startsOurs(name)
}

// looksLikeToken allocates nothing, but for what is percent-encoded. Most values
// have neither of the two bytes that it looks for.
func looksLikeToken(value []byte) bool {
	const before = len("ath") // the first underscore
	for i := 0; i < len(value); i++ {
		n := bytes.IndexByte(value[i:], '_')
		if n < 0 {
			break
		}
		i += n
		if from := i - before; from >= 0 && ath.HasTokenPrefix(value[from:]) {
			return true
		}
	}
	return bytes.IndexByte(value, '%') >= 0 && authz.HoldsToken(string(value))
}

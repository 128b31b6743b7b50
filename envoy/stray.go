package envoy

import (
	"bytes"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
)

// strays reports whether a header in which no ATH token belongs holds what
// looks like one: it would reach the API, and its log. Authorization, cookies
// and the path are judged where they are read, and what begins with x-ath- no
// API is shown.
func strays(p pair) bool {
	if !mayBeToken(p.raw) && !mayBeToken(p.value) || mayHoldToken(p.key) {
		return false
	}
	return looksLikeToken(p.raw) || looksLikeToken(p.value)
}

// mayBeToken rules out most values: a token has an underscore, maybe encoded.
func mayBeToken(value []byte) bool {
	return bytes.IndexByte(value, '_') >= 0 || bytes.IndexByte(value, '%') >= 0
}

func mayHoldToken(name []byte) bool {
	is := func(s string) bool { return bytes.EqualFold(name, []byte(s)) }
	return is(headerAuthorization) || is(headerCookie) || is(":path") || len(name) > 0 && name[0]|0x20 == 'x' && startsOurs(name)
}

// looksLikeToken allocates nothing, but for what is percent-encoded.
func looksLikeToken(value []byte) bool {
	const before = len("ath") // the first underscore
	for i := 0; ; i++ {
		n := bytes.IndexByte(value[i:], '_')
		if n < 0 {
			break
		}
		i += n
		if from, to := i-before, i-before+len(ath.TokenPrefix); from >= 0 && to <= len(value) && bytes.EqualFold(value[from:to], []byte(ath.TokenPrefix)) {
			return true
		}
	}
	return bytes.IndexByte(value, '%') >= 0 && authz.HoldsToken(string(value))
}

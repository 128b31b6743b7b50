package canary

import (
	"bytes"

	"github.com/athd/athd/ath"
)

// maxConfirmed is how many times in one search the sum may be right and the digest
// wrong. By chance that happens once in four thousand million; somebody who knows
// the secret can make texts of such, of which each costs a digest.
const maxConfirmed = 16

// maxLayers is how often a text is looked at, each time without a layer of escapes.
const maxLayers = 3

// A Search is a search in several texts, which together take a bounded time. The
// zero Search recognizes nothing.
type Search struct {
	canary    Canary
	out       uint32 // what the first byte of a window has become in its sum, by one
	confirmed int
	buffer    []byte
}

// Search returns a search for the secret.
func (c Canary) Search() *Search {
	s := &Search{canary: c}
	if c.Length > 0 {
		s.out = power(int(c.Length) - 1)
	}
	return s
}

// In reports whether the text holds the secret: see [Search.In].
func (c Canary) In(text string) bool { return c.Search().In(text) }

// In reports whether the text holds the secret: as it is, with backslashes before
// some of it, percent-encoded once or twice, or in base64 of either alphabet, by
// itself or with other bytes around it. Where a search has come upon too many texts
// that only seem to hold it, each one does.
func (s *Search) In(text string) bool {
	n := int(s.canary.Length)
	if n < MinLength || len(text) < n {
		return false
	}
	// A decoded text is no longer than what it was decoded from.
	now := []byte(text)
	for range maxLayers {
		if s.plain(now) || s.base64(now) {
			return true
		}
		next := unescape(now)
		if len(next) == len(now) || len(next) < n {
			return false
		}
		now = next
	}
	return false
}

// plain rolls over the text.
func (s *Search) plain(text []byte) bool {
	n := int(s.canary.Length)
	if len(text) < n {
		return false
	}
	now := sum(text[:n])
	for i := n; ; i++ {
		if now == s.canary.Sum && s.confirm(text[i-n:i]) {
			return true
		}
		if i == len(text) {
			return false
		}
		now = (now-uint32(text[i-n])*s.out)*prime + uint32(text[i])
	}
}

func (s *Search) confirm(window []byte) bool {
	if s.confirmed >= maxConfirmed || ath.FingerprintOf(ath.NewSecret(string(window))) == s.canary.Print {
		return true
	}
	s.confirmed++
	return false
}

// unescape takes one layer of escapes off: backslashes, and percent signs with two
// digits behind them.
func unescape(text []byte) []byte {
	if bytes.IndexByte(text, '%') < 0 && bytes.IndexByte(text, '\\') < 0 {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '%' && i+2 < len(text) && digit(text[i+1]) < 16 && digit(text[i+2]) < 16:
			out = append(out, digit(text[i+1])<<4|digit(text[i+2]))
			i += 2
		case c == '\\':
		default:
			out = append(out, c)
		}
	}
	return out
}

func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 16
}

// base64 looks into each run of characters of base64 that is long enough, whatever
// stands before the first one that counts.
func (s *Search) base64(text []byte) bool {
	least := (int(s.canary.Length)*4 + 2) / 3 // without padding
	for i := 0; i < len(text); {
		end := i
		for end < len(text) && sixBits(text[end]) < 64 {
			end++
		}
		if end-i >= least {
			for skip := range 4 {
				if s.plain(s.decode(text[i+skip : end])) {
					return true
				}
			}
		}
		i = end + 1
	}
	return false
}

// decode decodes whole and last groups. The result is good until the next call.
func (s *Search) decode(text []byte) []byte {
	out, bits, have := s.buffer[:0], uint32(0), 0
	for _, c := range text {
		bits, have = bits<<6|uint32(sixBits(c)), have+6
		if have >= 8 {
			have -= 8
			out = append(out, byte(bits>>have))
		}
	}
	s.buffer = out
	return out
}

// sixBits is what a character of base64 stands for, of either alphabet; 64: it is
// none.
func sixBits(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c - 'A'
	case 'a' <= c && c <= 'z':
		return c - 'a' + 26
	case '0' <= c && c <= '9':
		return c - '0' + 52
	case c == '+' || c == '-':
		return 62
	case c == '/' || c == '_':
		return 63
	}
	return 64
}

package config

import (
	"errors"
	"math"
	"regexp"
	"strings"
)

// An operator's token is guessed at by anybody who reaches athd: it holds 32
// random bytes, as `openssl rand -base64 32` prints them.
const adminTokenBits = 256

var errGuessable = errors.New("the token in the file can be guessed: want 32 random bytes, such as openssl rand -base64 32 prints")

// earlierToken is what athdemo secrets wrote before it wrote 32 bytes: 26
// characters of base32, which is 130 bits.
var earlierToken = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// checkAdminToken refuses what cannot hold 32 random bytes, being too short
// for its alphabet, and what is obviously not random. earlier is set for what
// an earlier athdemo made, which is random, but short.
func checkAdminToken(s string) (earlier bool, err error) {
	if earlier = earlierToken.MatchString(s); earlier {
		return true, unpredictable(s, 40)
	}
	if float64(len(s))*bitsPerCharacter(s) < adminTokenBits {
		return false, errGuessable
	}
	return false, unpredictable(s, 96)
}

// bitsPerCharacter is what a character of a text holds at most, by the
// alphabets that random bytes are written in.
func bitsPerCharacter(s string) float64 {
	const digits = "0123456789"
	switch {
	case strings.Trim(s, digits) == "":
		return math.Log2(10)
	case strings.Trim(s, digits+"abcdef") == "", strings.Trim(s, digits+"ABCDEF") == "":
		return 4
	case s == strings.ToLower(s), s == strings.ToUpper(s): // base32 and the like
		return math.Log2(36)
	}
	return 6
}

// unpredictable wants that many bits in characters that do not follow from
// those before: that neither repeat nor count on from the last one, nor end
// three that were there before.
func unpredictable(s string, bits float64) error {
	seen, chars, n := map[string]bool{}, map[byte]bool{}, 0
	for i := range len(s) {
		chars[s[i]] = true
		if i > 0 && s[i] >= s[i-1]-1 && s[i] <= s[i-1]+1 {
			continue
		}
		if i >= 2 {
			if three := s[i-2 : i+1]; seen[three] {
				continue
			}
		}
		n++
		if i >= 2 {
			seen[s[i-2:i+1]] = true
		}
	}
	if float64(n)*math.Log2(float64(len(chars))) < bits {
		return errGuessable
	}
	return nil
}

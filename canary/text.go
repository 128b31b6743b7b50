package canary

import (
	"encoding/base64"
	"strings"

	"github.com/athd/athd/ath"
)

// Text writes a Canary in at most 26 characters without a space; "" for the zero one.
// It is worth nothing to whoever reads it.
func (c Canary) Text() string {
	if c == (Canary{}) {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(c.Print[:]) + ":" + c.Mark.Text()
}

// Parse reads what [Canary.Text] has written of a secret, and nothing else.
func Parse(text string) (Canary, error) {
	digits, rest, _ := strings.Cut(text, ":")
	raw, odd := base64.RawURLEncoding.Strict().DecodeString(digits)
	m, err := ParseMark(rest)
	if odd != nil || err != nil || m == (Mark{}) || len(raw) != len(ath.Fingerprint{}) {
		return Canary{}, errMark
	}
	c := Canary{m, ath.Fingerprint(raw)}
	if c.Text() != text { // line ends, which base64 passes over
		return Canary{}, errMark
	}
	return c, nil
}

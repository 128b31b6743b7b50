// Package canary recognizes a secret where it comes back, without holding it or any
// piece of it: by its length, a sum that rolls over a text, and the beginning of a
// digest that confirms what the sum has found.
//
//	c := canary.Of(secret)
//	c.In(value) // as it is, within a longer value, percent-encoded or in base64
//
// Only the whole secret is recognized: neither a part of it nor a digest.
package canary

import (
	"encoding/hex"
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/athd/athd/ath"
)

// MinLength is how long a secret must be, in bytes, to be looked for: something
// shorter might stand in a text by chance.
const MinLength = 8

// A Mark is what a [Canary] is beside a fingerprint. It is worth nothing to whoever
// reads it. The zero Mark is that of no secret.
type Mark struct {
	Length uint16 // of the secret, in bytes
	Sum    uint32
}

// A Canary recognizes one secret. The zero Canary recognizes none.
type Canary struct {
	Mark
	Print ath.Fingerprint
}

// MarkOf returns the Mark of a secret; the zero Mark of one that is too short or too
// long to be looked for.
func MarkOf(s ath.Secret) Mark {
	text := s.Reveal()
	if len(text) < MinLength || len(text) > math.MaxUint16 {
		return Mark{}
	}
	return Mark{uint16(len(text)), sum([]byte(text))}
}

// Of returns the Canary of a secret.
func Of(s ath.Secret) Canary {
	m := MarkOf(s)
	if m == (Mark{}) {
		return Canary{}
	}
	return Canary{m, ath.FingerprintOf(s)}
}

// Text writes a Mark in at most 14 characters without a space; "-" for the zero one.
func (m Mark) Text() string { return string(m.Append(nil)) }

// Append appends what [Mark.Text] writes.
func (m Mark) Append(to []byte) []byte {
	if m == (Mark{}) {
		return append(to, '-')
	}
	to = append(strconv.AppendUint(to, uint64(m.Length), 10), '.')
	return hex.AppendEncode(to, []byte{byte(m.Sum >> 24), byte(m.Sum >> 16), byte(m.Sum >> 8), byte(m.Sum)})
}

var errMark = errors.New("not the mark of a secret")

// ParseMark reads what [Mark.Text] has written, and nothing else.
func ParseMark(text string) (Mark, error) {
	if text == "-" {
		return Mark{}, nil
	}
	length, digits, _ := strings.Cut(text, ".")
	n, err := strconv.ParseUint(length, 10, 16)
	raw, odd := hex.DecodeString(digits)
	if err != nil || odd != nil || n < MinLength || len(raw) != 4 {
		return Mark{}, errMark
	}
	m := Mark{uint16(n), uint32(raw[0])<<24 | uint32(raw[1])<<16 | uint32(raw[2])<<8 | uint32(raw[3])}
	if m.Text() != text { // capitals, a leading zero
		return Mark{}, errMark
	}
	return m, nil
}

// prime is that of FNV: the sum is a polynomial in it, modulo 2^32.
const prime = 16777619

func sum(text []byte) (s uint32) {
	for _, b := range text {
		s = s*prime + uint32(b)
	}
	return s
}

// power is prime to the n-th.
func power(n int) uint32 {
	out, by := uint32(1), uint32(prime)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			out *= by
		}
		by *= by
	}
	return out
}

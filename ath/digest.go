package ath

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
)

// A Digest is the SHA-256 of a bearer value of at least 256 bits of entropy:
// what is stored in place of the value. The zero Digest equals nothing.
type Digest [sha256.Size]byte

// DigestOf hashes a bearer value.
func DigestOf(value string) Digest {
	if value == "" {
		return Digest{}
	}
	return sum(value)
}

// sum is the SHA-256 of the concatenated parts, without an allocation for values of
// athd's own.
func sum(parts ...string) [sha256.Size]byte {
	var buffer [256]byte
	all := buffer[:0]
	for _, part := range parts {
		all = append(all, part...)
	}
	return sha256.Sum256(all)
}

// Matches reports in constant time whether value hashes to d. An empty value
// and the zero digest match nothing.
func (d Digest) Matches(value string) bool {
	v := DigestOf(value)
	return value != "" && !d.IsZero() && subtle.ConstantTimeCompare(d[:], v[:]) == 1
}

// IsZero reports whether d is the zero digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns the digest in hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText encodes the digest in hex.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText decodes what MarshalText wrote.
func (d *Digest) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(d) {
		return errors.New("digest has the wrong length")
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// A Fingerprint is the first eight bytes of a [Digest]: it tells one upstream token
// of a connection from the next, and is worth nothing to whoever reads it.
type Fingerprint [8]byte

// FingerprintOf is that of a secret.
func FingerprintOf(s Secret) Fingerprint {
	digest := DigestOf(s.Reveal())
	return Fingerprint(digest[:len(Fingerprint{})])
}

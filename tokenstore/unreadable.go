package tokenstore

import "strings"

// open opens a record that was read, and tells [Config].Unreadable where it does
// not: it was moved or copied from another key or user, changed, or sealed by
// another keyset or version.
func (s *Store) open(kind kind, key, stored string, binding ...string) ([]byte, error) {
	plain, err := s.keys.open(kind, key, stored, binding...)
	if err != nil {
		s.unreadable(string(kind), withoutDigest(key))
	}
	return plain, err
}

// withoutDigest is a key without the digest of a token.
func withoutDigest(key string) string {
	if at := strings.Index(key, "}:"); at >= 0 {
		if end := strings.IndexByte(key[at+2:], ':'); end >= 0 {
			return key[:at+2+end]
		}
	}
	return key
}

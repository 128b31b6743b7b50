package tokenstore

import "strings"

// open opens a record that was read, and tells [Config].Unreadable where it does
// not: it was moved or copied from another key or user, changed, or sealed by
// another keyset or version.
func (s *Store) open(kind kind, key, stored string, binding ...string) ([]byte, error) {
	plain, err := s.keys.open(kind, key, stored, binding...)
	if err != nil {
		where := key
		if at := strings.Index(key, "}:"); at >= 0 {
			if end := strings.IndexByte(key[at+2:], ':'); end >= 0 {
				where = key[:at+2+end] // without the digest of a token
			}
		}
		s.unreadable(string(kind), where)
	}
	return plain, err
}

// SealedKinds are the kinds of records that [Config].Unreadable names.
func SealedKinds() []string {
	kinds := []kind{agentKind, sessionKind, grantKind, connectionKind, ownerKind, attemptKind, hostsKind, issuerKind, revocationKind}
	out := make([]string, len(kinds))
	for i, k := range kinds {
		out[i] = string(k)
	}
	return out
}

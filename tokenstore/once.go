package tokenstore

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/athd/athd/ath"
)

// Once reports whether this is the first call, over all replicas and for as
// long as ttl, with this value: a jti, a re-fetch. Parameter what
// names the use, in lower-case letters and dashes; only a digest of the value is
// stored.
// With an error, first is false.
func (s *Store) Once(ctx context.Context, tag ath.Tag, what, value string, ttl time.Duration) (first bool, err error) {
	key, err := onceKey(tag, what, value)
	if err != nil {
		return false, err
	}
	if ttl <= 0 {
		return false, errors.New("store: once needs a time to remember")
	}
	caller := rand.Text()
	err = s.do(ctx, "once", func(ctx context.Context) error {
		var err error
		if left := s.ttl(s.now().Add(ttl)); isRevoking(ctx) {
			err = s.run(ctx, s.scripts.onceRevoking, ErrExists, []string{key}, caller, left)
		} else {
			err = s.setIfAbsent(ctx, key, caller, left)
		}
		if first = err == nil; errors.Is(err, ErrExists) {
			return nil // a plain answer here, not a failure
		}
		return err
	})
	return first && err == nil, err
}

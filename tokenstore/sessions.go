package tokenstore

import (
	"context"
	"crypto/sha256"

	"github.com/athd/athd/ath"
)

// CreateSession stores a new session until ten minutes after it expires.
func (s *Store) CreateSession(ctx context.Context, tag ath.Tag, session Session) error {
	key, err := sessionKey(tag)
	if err != nil {
		return err
	}
	sealed, err := s.sealSession(key, session, nil)
	if err != nil {
		return err
	}
	return s.create(ctx, "create_session", key, sealed, s.ttl(session.Expires.Add(sessionLinger)))
}

// Session returns the session with this tag, also past its end. The tag proves
// nothing: callers compare the digest of the session id or state.
func (s *Store) Session(ctx context.Context, tag ath.Tag) (Held[Session], error) {
	key, err := sessionKey(tag)
	if err != nil {
		return Held[Session]{}, err
	}
	return get(ctx, s, "session", key, s.openSession)
}

// SwapSession moves a session on from where it was read, and returns it as it
// is now, ready for the next step. ErrChanged: somebody else moved it first,
// or it is gone; of any number of callers who hold the same state, one wins
// (Z-4, T-4, C-1). What ends a session succeeds also when the server is full,
// and happens once: a session that was put back from before its end is
// ErrChanged.
func (s *Store) SwapSession(ctx context.Context, old Held[Session], next Session) (Held[Session], error) {
	if old.key == "" {
		return Held[Session]{}, errNotHeld
	}
	sealed, err := s.sealSession(old.key, next, old.x)
	if err != nil {
		return Held[Session]{}, err
	}
	ttl := s.ttl(next.Expires.Add(sessionLinger))
	var held Held[Session]
	err = s.unlessRewrapped(ctx, sessionKind, old.key, old.raw, func(raw string) (err error) {
		old.raw = raw
		if next.Phase.Ends() {
			held, err = s.endSession(ctx, old, next, sealed, ttl)
		} else {
			held, err = swap(ctx, s, s.scripts.swap, "swap_session", old, next, sealed, ttl)
		}
		return err
	})
	return held, err
}

// endSession leaves a mark beside the record, in the same step, so that a
// session ends once: also if somebody puts an older state of it back.
func (s *Store) endSession(ctx context.Context, old Held[Session], next Session, sealed string, ttl int64) (Held[Session], error) {
	mark, err := key(tagOf(old.key), string(endedKind))
	if err != nil {
		return Held[Session]{}, err
	}
	own := sha256.Sum256([]byte(sealed)) // so that a retry recognizes the first attempt
	err = s.do(ctx, "swap_session", func(ctx context.Context) error {
		return s.run(ctx, s.scripts.endSession, ErrChanged, []string{old.key, mark}, old.raw, sealed, ttl, string(own[:16]))
	})
	if err != nil {
		return Held[Session]{}, err
	}
	return Held[Session]{Value: next, key: old.key, raw: sealed, x: old.x}, nil
}

func sessionKey(tag ath.Tag) (string, error) { return key(tag, string(sessionKind)) }

func (s *Store) sealSession(key string, session Session, x extra) (string, error) {
	plain, err := encodeSession(session, x)
	if err != nil {
		return "", err
	}
	return s.keys.seal(sessionKind, key, plain)
}

func (s *Store) openSession(key, raw string) (Session, extra, error) {
	plain, err := s.open(sessionKind, key, raw)
	if err != nil {
		return Session{}, nil, err
	}
	return decodeSession(plain)
}

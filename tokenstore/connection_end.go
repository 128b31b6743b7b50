package tokenstore

import (
	"context"
	"slices"
	"time"

	"github.com/athd/athd/ath"
)

// An End is what became of a connection that was to end.
type End struct {
	Was      bool     // there was anything to end
	Upstream Upstream // what becomes of the user's grant at the provider
}

// EndConnection deletes a user's tokens and revokes every grant and renewal of the
// connection: every decision that starts after it has returned nil refuses its ATH
// tokens (V-4), and none can be renewed (V-6). It also ends a connection that does not open. It reports whether there was
// anything to end: a second time there is not. After an error, call it again. It
// waits for replicas as [Config].WaitReplicas says, and succeeds also when the
// server is full.
func (s *Store) EndConnection(ctx context.Context, tag ath.Tag, at time.Time) (End, error) {
	return s.endWith(ctx, tag, at, func(string) bool { return true })
}

// endWith deletes a connection before its grants get their tombstones: without it
// no token works, and no grant can be put any more that this would miss. A
// connection that is kept for an agent who is not meant stays.
func (s *Store) endWith(ctx context.Context, tag ath.Tag, at time.Time, meant func(agentID string) bool) (out End, err error) {
	connection, err := key(tag, string(connectionKind))
	if err != nil {
		return End{}, nil //nolint:nilerr // not an entry that athd wrote
	}
	there, holders, err := s.holdersOf(ctx, connection, tag)
	if err != nil {
		return End{}, err
	}
	if slices.ContainsFunc(holders, func(h holder) bool { return !meant(h.agent) }) {
		return End{}, nil
	}
	owner, _ := ownerKey(tag)
	out.Upstream, err = s.end(ctx, tag, holders, true, at, func(e ending) error {
		keys, args := s.feed.announcing([]string{connection, owner, e.key}, []any{e.connection, e.revocation, e.ttl}, announce(ConnectionEnded, tag, ""))
		return s.do(ctx, "end_connection", func(ctx context.Context) error {
			return s.confirmed(ctx, s.scripts.endConnection, ErrChanged, keys, args...)
		})
	})
	if err != nil {
		return End{}, err
	}
	s.connections.drop(connection)
	out.Was = there
	// Again: a grant may have been put since.
	if _, holders, err = s.holdersOf(ctx, connection, tag); err != nil {
		return out, err
	}
	for _, h := range holders {
		if err := s.endHolder(ctx, h, at); err != nil {
			return out, err
		}
	}
	out.Was = there || len(holders) > 0
	return out, nil
}

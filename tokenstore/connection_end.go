package tokenstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// An End is what became of a connection that was to end.
type End struct {
	Was      bool     // there was anything to end
	Upstream Upstream // what becomes of the user's grant at the provider
}

// EndConnection deletes a user's tokens and revokes every grant of the connection:
// every decision that starts after it has returned nil refuses its ATH tokens
// (V-4). It also ends a connection that does not open. It reports whether there was
// anything to end: a second time there is not. After an error, call it again. It
// waits for replicas as [Config].WaitReplicas says, and succeeds also when the
// server is full.
func (s *Store) EndConnection(ctx context.Context, tag ath.Tag, at time.Time) (End, error) {
	return s.endWith(ctx, tag, at, func(*Grant) bool { return true })
}

// endWith deletes a connection before its grants get their tombstones: without it
// no token works, and no grant can be put any more that this would miss. A
// connection that has a grant which is not among those that are meant stays.
func (s *Store) endWith(ctx context.Context, tag ath.Tag, at time.Time, meant func(*Grant) bool) (out End, err error) {
	connection, err := key(tag, string(connectionKind))
	if err != nil {
		return End{}, nil //nolint:nilerr // not an entry that athd wrote
	}
	there, grants, err := s.grantsOf(ctx, connection, tag)
	if err != nil {
		return End{}, err
	}
	if slices.ContainsFunc(grants, func(g Held[Grant]) bool { return !meant(&g.Value) }) {
		return End{}, nil
	}
	owner, _ := ownerKey(tag)
	out.Upstream, err = s.end(ctx, tag, grants, true, at, func(e ending) error {
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
	if _, grants, err = s.grantsOf(ctx, connection, tag); err != nil {
		return out, err
	}
	for _, g := range grants {
		if err := s.Revoke(ctx, g, at); err != nil {
			return out, err
		}
	}
	out.Was = there || len(grants) > 0
	return out, nil
}

// grantsOf reads the grants of a connection that are not revoked, and whether it is
// there.
func (s *Store) grantsOf(ctx context.Context, connection string, tag ath.Tag) (there bool, all []Held[Grant], err error) {
	index, err := key(tag, string(grantsKind))
	if err != nil {
		return false, nil, err
	}
	var digests []string
	err = s.do(ctx, "grants", func(ctx context.Context) error {
		var exists *redis.IntCmd
		var found *redis.StringSliceCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			exists, found = batch.Exists(ctx, connection), batch.ZRange(ctx, index, 0, -1)
		})
		if err != nil {
			return err
		}
		there, digests = exists.Val() > 0, found.Val()
		return errors.Join(exists.Err(), found.Err())
	})
	if err != nil {
		return false, nil, err
	}
	for _, digest := range digests {
		if isHold(digest) {
			continue
		}
		grant, _ := key(tag, string(grantKind), digest)
		held, err := get(ctx, s, "grant", grant, s.openGrant)
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt): // no token of it works
		case err != nil:
			return false, nil, err
		default:
			all = append(all, held)
		}
	}
	return there, all, nil
}

// userEndLinger is how long the mark of a user's end stays: longer than any
// session, of which one that began before the end must not finish after it.
const userEndLinger = time.Hour

// A UserEnd says when a user's connections were ended last. The zero one: they were
// not, or so long ago that no session of before can go on. Two that are equal are
// of the same end.
type UserEnd struct {
	At time.Time

	marks string
}

// EndUser marks that whatever a user consented to until now, at providers of
// these names or, without any, at all, is to end: sessions that began before do not
// end in a connection. Those that are there are ended one by one: see
// [Store.Connections] and [Store.EndConnection]. It waits for replicas as
// [Config].WaitReplicas says, and succeeds also when the server is full.
func (s *Store) EndUser(ctx context.Context, user string, providers []string, at time.Time) error {
	if user == "" {
		return errors.New("store: a user without an id cannot be ended")
	}
	marks, err := userMarks(s.keys.userTags(user)[0], providers)
	if err != nil {
		return err
	}
	value := strconv.FormatInt(at.UnixMicro(), 10) + " " + rand.Text()
	left := s.ttl(s.now().Add(userEndLinger))
	return s.do(ctx, "end_user", func(ctx context.Context) error {
		return s.confirmed(ctx, s.scripts.endUser, ErrChanged, marks, value, left)
	})
}

// UserEnd returns the mark for a user at a provider.
func (s *Store) UserEnd(ctx context.Context, user, provider string) (UserEnd, error) {
	var out UserEnd
	err := s.do(ctx, "user_end", func(ctx context.Context) error {
		out = UserEnd{}
		var asked []*redis.SliceCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			for _, tag := range s.keys.userTags(user) {
				all, _ := userMarks(tag, nil)
				one, _ := userMarks(tag, []string{provider})
				asked = append(asked, batch.MGet(ctx, all[0], one[0]))
			}
		})
		if err != nil {
			return err
		}
		for _, a := range asked {
			values, err := a.Result()
			if err != nil {
				return err
			}
			for _, value := range values {
				mark, there := value.(string)
				if !there {
					continue
				}
				micros, _, _ := strings.Cut(mark, " ")
				n, err := strconv.ParseInt(micros, 10, 64)
				if err != nil {
					return fmt.Errorf("%w: the mark of a user's end is no time", ErrCorrupt)
				}
				if at := time.UnixMicro(n).UTC(); at.After(out.At) {
					out.At = at
				}
				out.marks += mark + "\n"
			}
		}
		return nil
	})
	return out, err
}

// userMarks are the keys of marks, in one slot.
func userMarks(tag ath.Tag, providers []string) (keys []string, err error) {
	if len(providers) == 0 {
		all, err := key(tag, string(userEndedKind))
		return []string{all}, err
	}
	for _, p := range providers {
		one, err := key(tag, string(userEndedKind), ath.DigestOf(p).String())
		if err != nil {
			return nil, err
		}
		keys = append(keys, one)
	}
	return keys, nil
}

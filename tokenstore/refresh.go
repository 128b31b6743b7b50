package tokenstore

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// keepAttempt is how long an attempt is remembered: longer than any call or
// pause between calls.
const keepAttempt = 24 * time.Hour

// A RefreshState is a connection as it stands before its token is refreshed, at
// one moment of the server's.
type RefreshState struct {
	Connection Connection
	Leased     bool          // somebody is at it
	Attempt    *Attempt      // the last call whose outcome is not stored; nil: none
	Age        time.Duration // of the attempt, by the server's clock

	ref        ConnectionRef
	keys       refreshKeys
	raw        string // of the connection
	x          extra
	rawAttempt string // "": none
	xAttempt   extra
}

// refreshKeys are in the connection's slot.
type refreshKeys struct{ connection, lease, attempt string }

func refreshKeysOf(tag ath.Tag) (refreshKeys, error) {
	connection, err := key(tag, string(connectionKind))
	if err != nil {
		return refreshKeys{}, err
	}
	lease, _ := key(tag, string(leaseKind))
	attempt, _ := key(tag, string(attemptKind))
	return refreshKeys{connection, lease, attempt}, nil
}

// RefreshState reads a connection, the lease on it and the last attempt, at once
// and from a master. ErrNotFound: there is no such connection any more.
func (s *Store) RefreshState(ctx context.Context, ref ConnectionRef) (RefreshState, error) {
	keys, err := refreshKeysOf(ref.Tag)
	if err != nil {
		return RefreshState{}, err
	}
	out := RefreshState{ref: ref, keys: keys}
	err = s.do(ctx, "refresh_state", func(ctx context.Context) error {
		var values *redis.SliceCmd
		var left *redis.DurationCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			values = batch.MGet(ctx, keys.connection, keys.lease, keys.attempt)
			left = batch.PTTL(ctx, keys.attempt)
		})
		if err != nil {
			return err
		}
		got, err := values.Result()
		if err == nil && len(got) != 3 {
			err = errors.New("MGET of 3 keys answered with another number of values")
		}
		if err := errors.Join(err, left.Err()); err != nil {
			return err
		}
		return s.readRefreshState(&out, got, left.Val())
	})
	if err != nil {
		return RefreshState{}, err
	}
	return out, nil
}

func (s *Store) readRefreshState(out *RefreshState, got []any, left time.Duration) error {
	var there bool
	if out.raw, there = got[0].(string); !there {
		return ErrNotFound
	}
	ref := out.ref
	var err error
	if out.Connection, out.x, err = s.openConnectionOf(out.keys.connection, out.raw, ref); err != nil {
		return err
	}
	if out.Connection.Epoch != ref.Epoch {
		return ErrNotFound // what is meant has ended, and the user has consented again
	}
	_, out.Leased = got[1].(string)
	if out.rawAttempt, there = got[2].(string); !there {
		return nil
	}
	plain, err := s.open(attemptKind, out.keys.attempt, out.rawAttempt, ref.binding()...)
	if err != nil {
		return err
	}
	attempt, x, err := decodeAttempt(plain)
	if err != nil {
		return err
	}
	out.Attempt, out.xAttempt = &attempt, x
	// The age is never said to be more than it is: in doubt nobody calls yet.
	out.Age = max(0, time.Duration(attempt.Keep)*time.Millisecond-max(0, left))
	return nil
}

// A Refresh is one attempt to refresh a connection's token by one athd. It is
// not safe for concurrent use, but for [Store.RenewLease].
type Refresh struct {
	State RefreshState
	lease string // fences: no other attempt has this value
	mine  string // the attempt as it is stored
	keep  int64

	next     *Connection // that was sealed last, in place of State
	sealed   string
	replaced string // what State was then
}

// Rebase goes on with what was read since: the result of the call is still to be
// stored, and the connection has changed.
func (r *Refresh) Rebase(state RefreshState) { r.State = state }

// NewRefresh prepares an attempt on what was read. Nothing is written yet.
func (s *Store) NewRefresh(state RefreshState, attempt Attempt) (*Refresh, error) {
	if state.raw == "" {
		return nil, errNotHeld
	}
	r := &Refresh{State: state, lease: rand.Text()}
	var err error
	r.mine, r.keep, err = s.sealAttempt(&state, attempt)
	return r, err
}

func (s *Store) sealAttempt(state *RefreshState, a Attempt) (sealed string, keep int64, err error) {
	a.Keep = s.ttl(s.now().Add(keepAttempt))
	plain, err := encodeAttempt(a, state.xAttempt)
	if err != nil {
		return "", 0, err
	}
	sealed, err = s.keys.seal(attemptKind, state.keys.attempt, plain, state.ref.binding()...)
	return sealed, a.Keep, err
}

// BeginRefresh takes the lease and writes the attempt down, if the connection is
// still what was read and nobody else is at it: the last thing before the refresh
// token is spent, and the proof that what comes back can be stored. It waits for
// replicas as [Config].WaitReplicas says. ErrChanged: read again. After
// ErrUnavailable it may have happened: call it again with the same Refresh, or
// end it with [Store.FailRefresh].
func (s *Store) BeginRefresh(ctx context.Context, r *Refresh, lease time.Duration) error {
	k := r.State.keys
	return s.do(ctx, "begin_refresh", func(ctx context.Context) error {
		return s.confirmed(ctx, s.scripts.beginRefresh, ErrChanged, []string{k.connection, k.lease, k.attempt},
			r.State.raw, r.lease, lease.Milliseconds(), r.State.rawAttempt, r.mine, r.keep)
	})
}

// RenewLease extends the lease. ErrChanged: somebody else has it.
func (s *Store) RenewLease(ctx context.Context, r *Refresh, lease time.Duration) error {
	return s.do(ctx, "renew_lease", func(ctx context.Context) error {
		return s.run(ctx, s.scripts.renewLease, ErrChanged, []string{r.State.keys.lease}, r.lease, lease.Milliseconds())
	})
}

// FinishRefresh replaces the connection as it was read by the next one, which
// stays for as long as it would have, and at least for keep; and gives lease and
// attempt back. It works on a full server too. ErrChanged: somebody else wrote
// it, or it has ended. After ErrUnavailable it may have happened: it is called
// again with the same next, and recognizes its first try.
func (s *Store) FinishRefresh(ctx context.Context, r *Refresh, next *Connection, keep time.Duration) error {
	k := r.State.keys
	if r.next != next || r.replaced != r.State.raw {
		sealed, err := s.sealNext(r, next)
		if err != nil {
			return err
		}
		r.next, r.sealed, r.replaced = next, sealed, r.State.raw
	}
	owner, err := ownerKey(r.State.ref.Tag)
	if err != nil {
		return err
	}
	if keep > 0 { // beyond its grants: who ends the user must find it
		if err := s.noteUntil(ctx, r.State.ref, s.now().Add(keep)); err != nil {
			return err
		}
	}
	err = s.do(ctx, "finish_refresh", func(ctx context.Context) error {
		return s.confirmed(ctx, s.scripts.finishRefresh, ErrChanged, []string{k.connection, k.lease, k.attempt, owner},
			r.State.raw, r.sealed, r.lease, r.mine, keep.Milliseconds())
	})
	if err == nil && !next.KeepBy().IsZero() {
		s.keepNext(ctx, r.State.ref.Tag, next)
	}
	// Also of a first try whose answer was lost, and whose bytes somebody has replaced since.
	may := err == nil || errors.Is(err, ErrChanged)
	if before := &r.State.Connection; may && (next.Ended && !before.Ended || !next.Scopes.Contain(before.Scopes)) {
		// Calls that go on may have lost what they hold. It is written to the log
		// beside: no request waits for it.
		s.feed.unwritten.add(announce(ConnectionEnded, r.State.ref.Tag, ""))
	}
	return err
}

// keepNext enters a refreshed connection into the index of those that are kept
// alive. Where that fails it is looked at when its token before was due.
func (s *Store) keepNext(ctx context.Context, tag ath.Tag, c *Connection) {
	err := s.do(ctx, "note_keep", func(ctx context.Context) error {
		var noted func() error
		if err := s.server.ask(ctx, func(batch redis.Pipeliner) { noted = s.noteKeep(ctx, batch, tag, c) }); err != nil {
			return err
		}
		return noted()
	})
	if err != nil {
		s.log.DebugContext(ctx, "refreshed connection not noted", "error", err)
	}
}

// noteUntil enters a connection into the indexes.
func (s *Store) noteUntil(ctx context.Context, ref ConnectionRef, until time.Time) error {
	note, err := s.note(ref.Agent, ref.User, ref.Tag, until)
	if err != nil {
		return err
	}
	return s.noteNow(ctx, note)
}

func (s *Store) noteNow(ctx context.Context, note noting) error {
	return s.do(ctx, "note_connection", func(ctx context.Context) error {
		var noted func() error
		if err := s.server.ask(ctx, func(batch redis.Pipeliner) { noted = note(ctx, batch) }); err != nil {
			return err
		}
		return noted()
	})
}

func (s *Store) sealNext(r *Refresh, next *Connection) (string, error) {
	return s.sealConnection(r.State.keys.connection, r.State.ref, *next, r.State.x)
}

// FailRefresh gives the lease back without a new token. next is what others must
// know of the attempt; nil: it did not happen. ErrChanged: somebody else has made
// an attempt since.
func (s *Store) FailRefresh(ctx context.Context, r *Refresh, next *Attempt) error {
	sealed, keep := "", int64(1)
	if next != nil {
		var err error
		if sealed, keep, err = s.sealAttempt(&r.State, *next); err != nil {
			return err
		}
	}
	k := r.State.keys
	return s.do(ctx, "fail_refresh", func(ctx context.Context) error {
		return s.confirmed(ctx, s.scripts.failRefresh, ErrChanged, []string{k.lease, k.attempt}, r.lease, r.mine, sealed, keep)
	})
}

// SameConnection reports whether both are of the same state of one connection.
func (s RefreshState) SameConnection(as RefreshState) bool { return s.raw != "" && s.raw == as.raw }

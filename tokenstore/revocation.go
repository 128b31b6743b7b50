package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

const (
	revocationKind kind = "revocation"
	revocationsDue      = "ath:{revocations}:due" // a sorted set; it holds tags only and is not sealed
	waitingKind    kind = "waiting"               // an index; it holds tags only and is not sealed
)

const (
	// RevocationKept is how long a revocation stays that nothing becomes of.
	RevocationKept = 30 * 24 * time.Hour
	// revocationLinger is how much longer its record does, so that somebody says so.
	revocationLinger = 24 * time.Hour
	// revocationSettles is when an entry is looked at that was written ahead of its
	// record: longer than it takes to write that.
	revocationSettles = time.Minute
	// revocationLease is how long nobody else revokes what somebody has taken:
	// longer than any call.
	revocationLease = time.Minute
)

// A Revocation is what is left of a connection that has ended: the tokens that are
// to be revoked at the provider, too (V-5).
type Revocation struct {
	Agent       string     `json:"agent"`
	User        string     `json:"user"`
	Provider    string     `json:"p"`
	Destination string     `json:"dest,omitzero"`
	Ended       time.Time  `json:"at"`             // the connection
	Due         time.Time  `json:"due,omitzero"`   // since when it is tried; zero: it was not yet
	Tries       int        `json:"tries,omitzero"` // calls to the provider
	Until       time.Time  `json:"until,omitzero"` // nobody else calls before
	Known       bool       `json:"known,omitzero"` // the provider has said who the user is (T-7)
	Refresh     ath.Secret `json:"-"`
	Access      ath.Secret `json:"-"`
	Bound       string     `json:"-"` // see [Connection]; is in x
}

// revocationExtra is x of a revocation.
type revocationExtra struct {
	Bound  string `json:"bound,omitzero"`
	Others extra  `json:",embed"`
}

type storedRevocation struct {
	Revocation
	Access  string `json:"tok,omitzero"`
	Refresh string `json:"ref,omitzero"`
}

func encodeRevocation(r Revocation, x extra) ([]byte, error) {
	access, refresh := r.Access.Reveal(), r.Refresh.Reveal()
	if !utf8.ValidString(access) || !utf8.ValidString(refresh) {
		return nil, errors.New("the provider's token is not UTF-8")
	}
	r.Ended, r.Due, r.Until = r.Ended.UTC(), r.Due.UTC(), r.Until.UTC()
	if r.Bound != "" {
		var err error
		if x, err = json.Marshal(revocationExtra{r.Bound, x}, writing); err != nil {
			return nil, err
		}
	}
	return encode(stored[storedRevocation]{storedRevocation{r, access, refresh}, x})
}

func decodeRevocation(record []byte) (Revocation, extra, error) {
	in, x, err := decodeOne[storedRevocation](revocationKind, record)
	if err != nil {
		return Revocation{}, nil, err
	}
	r := in.Revocation
	r.Access, r.Refresh = ath.NewSecret(in.Access), ath.NewSecret(in.Refresh)
	if x != nil {
		var known revocationExtra
		if json.Unmarshal(x, &known) != nil {
			return Revocation{}, nil, fmt.Errorf("%w: x of the %s record is not as this athd knows it", ErrCorrupt, revocationKind)
		}
		r.Bound, x = known.Bound, known.Others
	}
	return r, x, nil
}

func (s *Store) sealRevocation(key string, r Revocation, x extra) (string, error) {
	plain, err := encodeRevocation(r, x)
	if err != nil {
		return "", err
	}
	return s.keys.seal(revocationKind, key, plain)
}

func (s *Store) openRevocation(key, raw string) (Revocation, extra, error) {
	plain, err := s.open(revocationKind, key, raw)
	if err != nil {
		return Revocation{}, nil, err
	}
	return decodeRevocation(plain)
}

func revocationKey(tag ath.Tag) (string, error) { return key(tag, string(revocationKind)) }

func (s *Store) revocationTTL(r *Revocation) int64 {
	return s.ttl(r.Ended.Add(RevocationKept + revocationLinger))
}

func revocationOf(tag ath.Tag, c *Connection, at time.Time) Revocation {
	return Revocation{
		Agent: c.Agent, User: c.User, Provider: c.Provider, Destination: c.Destination, Bound: c.Bound, Ended: at,
		Known: c.User != string(tag), Access: c.Access, Refresh: c.Refresh,
	}
}

// An Upstream says what becomes of a user's grant at the provider when its
// connection ends.
type Upstream string

// What becomes of it.
const (
	UpstreamNone        Upstream = ""             // there was no connection, or nobody is to revoke anything
	UpstreamQueued      Upstream = "queued"       // it is revoked there, once nothing else needs it
	UpstreamNever       Upstream = "never"        // revocation: never
	UpstreamUnsupported Upstream = "unsupported"  // the provider has no way to
	UpstreamUserUnknown Upstream = "user_unknown" // whether the user has other connections cannot be known (T-7)
	UpstreamUnreadable  Upstream = "unreadable"   // the connection does not open, or changed again and again
)

// UpstreamOf says what becomes of a grant at a provider when its connection ends,
// by whether the user is known (T-7).
func UpstreamOf(p *provider.Provider, userKnown bool) Upstream {
	switch {
	case p.Revocation == provider.RevokeNever:
		return UpstreamNever
	case !p.Revocable():
		return UpstreamUnsupported
	case p.Revocation != provider.RevokeEach && !userKnown:
		return UpstreamUserUnknown
	}
	return UpstreamQueued
}

// An UpstreamPolicy decides what becomes of users' grants at providers.
type UpstreamPolicy interface {
	// Judge says what is to become of the grant of a connection that ends. What is
	// not UpstreamQueued is not revoked. It must return at once.
	Judge(tag ath.Tag, c *Connection) Upstream
	// Ended is told of each connection that has ended, whose it was where that is
	// known, and what becomes of the grant. It must return at once.
	Ended(whose ConnectionRef, what Upstream)
}

// HandRevocation queues tokens to be revoked at the provider that are not, or no
// longer, a connection's: a refresh that came back after the end, or what a user
// allowed who was ended meanwhile. They replace what is queued under the same tag,
// which must be older. It works on a full server too.
func (s *Store) HandRevocation(ctx context.Context, tag ath.Tag, c *Connection) (Upstream, error) {
	if s.upstream == nil {
		return UpstreamNone, nil
	}
	what := s.upstream.Judge(tag, c)
	if what == UpstreamQueued {
		if err := s.putRevocation(ctx, tag, revocationOf(tag, c, s.now())); err != nil {
			return UpstreamNone, err
		}
	}
	s.upstream.Ended(c.ref(tag), what)
	return what, nil
}

func (s *Store) putRevocation(ctx context.Context, tag ath.Tag, r Revocation) error {
	key, err := revocationKey(tag)
	if err != nil {
		return err
	}
	sealed, err := s.sealRevocation(key, r, nil)
	if err != nil {
		return err
	}
	s.announceRevocation(ctx, tag)
	err = s.do(ctx, "put_revocation", func(ctx context.Context) error {
		return s.confirmed(ctx, s.scripts.putRevocation, ErrChanged, []string{key}, sealed, s.revocationTTL(&r))
	})
	if err == nil {
		s.queueRevocation(ctx, tag)
	}
	return err
}

// Revocation returns what is queued for a connection. ErrNotFound: nothing is.
func (s *Store) Revocation(ctx context.Context, tag ath.Tag) (Held[Revocation], error) {
	key, err := revocationKey(tag)
	if err != nil {
		return Held[Revocation]{}, ErrNotFound // not an entry that athd wrote
	}
	return get(ctx, s, "revocation", key, s.openRevocation)
}

// TakeRevocation counts one more try, and keeps others from one until that has
// ended. ErrChanged: somebody else has taken it, or there are newer tokens.
func (s *Store) TakeRevocation(ctx context.Context, old Held[Revocation]) (Held[Revocation], error) {
	if old.key == "" {
		return old, errNotHeld
	}
	now, next := s.now(), old.Value
	if now.Before(next.Until) {
		return old, ErrChanged
	}
	if next.Due.IsZero() {
		next.Due = now
	}
	next.Tries++
	next.Until = now.Add(revocationLease)
	held, err := s.swapRevocation(ctx, old, next)
	if err != nil {
		return held, err
	}
	if err := s.PostponeRevocation(ctx, tagOf(old.key), next.Until); err != nil {
		// Whoever finds the entry finds that it is taken.
		s.log.DebugContext(ctx, "taken revocation not postponed", "error", err)
	}
	return held, nil
}

// ReturnRevocation gives back what was taken, for another try at a time.
func (s *Store) ReturnRevocation(ctx context.Context, old Held[Revocation], at time.Time) error {
	if old.key == "" {
		return errNotHeld
	}
	next := old.Value
	next.Until = time.Time{}
	if _, err := s.swapRevocation(ctx, old, next); err != nil {
		return err
	}
	return s.PostponeRevocation(ctx, tagOf(old.key), at)
}

func (s *Store) swapRevocation(ctx context.Context, old Held[Revocation], next Revocation) (Held[Revocation], error) {
	sealed, err := s.sealRevocation(old.key, next, old.x)
	if err != nil {
		return Held[Revocation]{}, err
	}
	var held Held[Revocation]
	err = s.unlessRewrapped(ctx, revocationKind, old.key, old.raw, func(raw string) (err error) {
		old.raw = raw
		held, err = swap(ctx, s, s.scripts.swapRevoking, "swap_revocation", old, next, sealed, s.revocationTTL(&next))
		return err
	})
	return held, err
}

// EndRevocation forgets what was read. ErrChanged: there are newer tokens, which
// are left, and due.
func (s *Store) EndRevocation(ctx context.Context, old Held[Revocation]) error {
	if old.key == "" {
		return errNotHeld
	}
	tag := tagOf(old.key)
	err := s.unlessRewrapped(ctx, revocationKind, old.key, old.raw, func(raw string) error {
		return s.do(ctx, "end_revocation", func(ctx context.Context) error {
			return s.confirmed(ctx, s.scripts.remove, ErrChanged, []string{old.key}, raw)
		})
	})
	switch {
	case errors.Is(err, ErrChanged):
		s.queueRevocation(ctx, tag)
		return err
	case err != nil:
		return err
	}
	if old.Value.Known {
		s.forgetWaiting(ctx, old.Value.User, tag)
	}
	return s.DropRevocation(ctx, tag)
}

// DropRevocation takes an entry from the queue behind which there is nothing. If
// there is something after all it stays.
func (s *Store) DropRevocation(ctx context.Context, tag ath.Tag) error {
	err := s.do(ctx, "drop_revocation", func(ctx context.Context) error {
		return s.askInt(ctx, func(batch redis.Pipeliner) *redis.IntCmd { return batch.ZRem(ctx, revocationsDue, string(tag)) })
	})
	if err != nil {
		return err
	}
	// Somebody may have written it since it was looked for.
	if _, err := s.Revocation(ctx, tag); !errors.Is(err, ErrNotFound) {
		s.queueRevocation(ctx, tag)
	}
	return nil
}

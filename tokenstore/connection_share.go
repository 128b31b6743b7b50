package tokenstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

const (
	// orderKept is how long it is remembered when the tokens of a shared connection
	// came: longer than any tokens wait to be stored.
	orderKept = time.Minute
	// holdPrefix begins the entries among a connection's grants that are none: an
	// agent whose user has consented, and who has no token yet.
	holdPrefix = "hold:"
	shareTries = 8
)

// ShareConnection stores a user's OAuth tokens for all of the user's agents at a
// provider, where the server keeps one grant per user: with a consent for the next agent it
// may have ended the tokens that are stored, so that these replace them, for all.
// Whoever calls it for the same user, provider and destination, on any replica, gets
// the same tag. The connection stays until the given time at least, and until then no
// end of another agent's last grant ends it, unless this agent has got its own.
//
// came is when the tokens came from the provider, by the monotonic clock. Of two
// consents at once, the tokens stay that came last, in whatever order they are stored:
// the server has ended the others. What a newer athd keeps in x stays, too. A
// record that does not open is not replaced: ErrCorrupt.
//
// The tag comes again after the end of a connection, but with another epoch, so that no
// grant of before opens the new one, however it was left over: by an end that was
// interrupted, or by an older athd that cannot read it. Tokens that the provider has
// refused for a while have ended, too: the user may have taken them back from all
// agents, and allows but one of them now. So has a connection of which agreed says
// that its user did not agree to where its tokens go now (O-2); nil: of none.
func (s *Store) ShareConnection(ctx context.Context, agentID string, c Connection, until, came time.Time, agreed func(there *Connection) bool) (ConnectionRef, error) {
	if agentID == "" || c.Agent != "" || c.User == "" || c.Provider == "" || c.Destination == "" {
		return ConnectionRef{}, errors.New("store: a shared connection is of a user, a provider and a destination, and of no agent")
	}
	for range shareTries {
		age := max(0, time.Since(came)) // before it is compared: in doubt these are the last
		at, err := s.sharedState(ctx, c.User, c.Provider, c.Destination, agreed)
		if err != nil {
			return ConnectionRef{}, err
		}
		err = s.share(ctx, at, agentID, c, until, age)
		if err == nil {
			s.dropPlaces(ctx, at.stale)
		}
		if !errors.Is(err, ErrChanged) {
			return at.ref, err
		}
	}
	return ConnectionRef{}, fmt.Errorf("store: share_connection: %w, again and again", ErrChanged)
}

// A sharedState is a shared connection as it stands, or the place for one.
type sharedState struct {
	ref  ConnectionRef
	key  string
	raw  string // "": there is none
	x    extra
	over bool          // what is there has ended
	came time.Duration // before it was read, its tokens came; orderKept: or longer
	read time.Time     // when, or just before

	stale []place // that lead to nothing any more, where there is none
}

// sharedState finds the connection that a user's agents share. It may be below the
// tag of any key of the keyset, or of one that was in it: see sharedAt. A new one is
// below the primary's.
func (s *Store) sharedState(ctx context.Context, user, provider, destination string, agreed func(*Connection) bool) (sharedState, error) {
	var out sharedState
	tags := s.keys.sharedTags(user, provider, destination)
	err := s.do(ctx, "shared_state", func(ctx context.Context) error {
		out = sharedState{read: time.Now()}
		found, places, err := s.readShared(ctx, tags)
		if err != nil {
			return err
		}
		out.ref = ConnectionRef{Tag: tags[0], User: user, Provider: provider}
		out.came = orderKept - found[0].order
		at := slices.IndexFunc(found, func(f foundShared) bool { return f.raw != "" })
		if at < 0 && len(places) > 0 {
			var others []ath.Tag
			if others, out.stale, err = s.placed(places); err != nil {
				return err
			}
			if found, _, err = s.readShared(ctx, others); err != nil {
				return err
			}
			tags = others
			at = slices.IndexFunc(found, func(f foundShared) bool { return f.raw != "" })
		}
		if at >= 0 {
			out.ref.Tag, out.raw, out.came, out.stale = tags[at], found[at].raw, orderKept-found[at].order, nil
		}
		out.ref.Epoch = rand.Text()
		out.key, err = key(out.ref.Tag, string(connectionKind))
		if err != nil || out.raw == "" {
			return err
		}
		var there Connection
		switch there, out.x, err = s.openConnectionOf(out.key, out.raw, out.ref); {
		case err != nil:
		case there.Destination != destination:
			err = fmt.Errorf("%w: a shared connection is for another destination than its tag", ErrCorrupt)
		case !there.over(s.now()) && (agreed == nil || agreed(&there)):
			out.ref.Epoch = there.Epoch
		default:
			out.over = true
		}
		return err
	})
	return out, err
}

// over reports whether the provider has ended a shared connection, and not just by
// the consent that is about to replace it.
func (c *Connection) over(now time.Time) bool {
	return c.Ended || !c.RefreshStatus.Refused.IsZero() && now.Sub(c.RefreshStatus.Refused) > orderKept
}

func (s *Store) share(ctx context.Context, at sharedState, agentID string, c Connection, until time.Time, age time.Duration) error {
	tag := at.ref.Tag
	older := at.raw != "" && !at.over && at.came < age // what is stored came after these tokens
	c.Epoch = at.ref.Epoch
	begins := 0
	if at.raw == "" || at.over {
		begins = 1
	}
	sealed, order := at.raw, int64(0)
	if !older {
		var err error
		if sealed, err = s.sealConnection(at.key, at.ref, c, at.x); err != nil {
			return err
		}
		order = max(1, (orderKept - age).Milliseconds())
	}
	ownerKey, owner, err := s.sealOwner(tag, owner{User: c.User, Provider: c.Provider})
	if err != nil {
		return err
	}
	note, err := s.note(agentID, c.User, tag, until)
	if err != nil {
		return err
	}
	if err := s.noteNow(ctx, func(ctx context.Context, batch redis.Pipeliner) func() error {
		noted, kept := note(ctx, batch), func() error { return nil }
		if !older {
			kept = s.noteKeep(ctx, batch, tag, &c)
		}
		return func() error { return errors.Join(noted(), kept()) }
	}); err != nil {
		return err
	}
	grants, _ := key(tag, string(grantsKind))
	orderKey, _ := key(tag, string(orderKind))
	revocation, _ := revocationKey(tag)
	return s.do(ctx, "share_connection", func(ctx context.Context) error {
		return s.confirmed(ctx, s.scripts.share, ErrChanged, []string{at.key, ownerKey, grants, orderKey, revocation},
			at.raw, sealed, s.ttl(until), owner, order, holdOf(agentID), until.UnixMilli(), begins)
	})
}

// holdOf is the entry among a shared connection's grants of an agent that has no
// token yet.
func holdOf(agentID string) string { return holdPrefix + string(ath.AgentTag(agentID)) }

func isHold(member string) bool { return strings.HasPrefix(member, holdPrefix) }

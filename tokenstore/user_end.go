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
// [Config].WaitReplicas says, and succeeds also when the server is full. After an
// error it may hold or not: call it again.
func (s *Store) EndUser(ctx context.Context, user string, providers []string, at time.Time) error {
	if user == "" {
		return errors.New("store: a user without an id cannot be ended")
	}
	keyset := s.keys.now()
	value := markUserEnd(at, keyset.tagKeys)
	left := s.ttl(s.now().Add(userEndLinger))
	for _, tag := range keyset.userTags(user) { // each is in a slot of its own
		marks, err := userMarks(tag, providers)
		if err != nil {
			return err
		}
		err = s.do(ctx, "end_user", func(ctx context.Context) error {
			return s.confirmed(ctx, s.scripts.endUser, ErrChanged, marks, value, left)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// markUserEnd is what a mark holds: when, something random, and the ids of the keys
// below whose tags it stands. Whoever made it knew the user; who looks at it later
// cannot tell of which key its tag is, and has nothing to put it below another
// key's by: so that it stands below that of each, and goes by itself.
//
//	1764402000000000 LJ4R… 1846034021,99127846
func markUserEnd(at time.Time, keys []uint32) string {
	ids := make([]string, len(keys))
	for i, id := range keys {
		ids[i] = strconv.FormatUint(uint64(id), 10)
	}
	return strconv.FormatInt(at.UnixMicro(), 10) + " " + rand.Text() + " " + strings.Join(ids, ",")
}

// markedBelow returns the keys below whose tags a mark stands. nil: it does not say
// so, since an older athd made it, which puts it below one.
func markedBelow(mark string) (keys []uint32) {
	parts := strings.Split(mark, " ")
	if len(parts) != 3 {
		return nil
	}
	for text := range strings.SplitSeq(parts[2], ",") {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil
		}
		keys = append(keys, uint32(id))
	}
	return keys
}

// UserEnd returns the mark for a user at a provider.
func (s *Store) UserEnd(ctx context.Context, user, provider string) (UserEnd, error) {
	var out UserEnd
	err := s.do(ctx, "user_end", func(ctx context.Context) error {
		out = UserEnd{}
		var marks []string
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
				marks = append(marks, mark)
			}
		}
		// Below as many keys as the keyset has now, which may be others when it is
		// asked again.
		slices.Sort(marks)
		out.marks = strings.Join(slices.Compact(marks), "\n")
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

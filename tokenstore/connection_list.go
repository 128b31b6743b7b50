package tokenstore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

const (
	connectionBatch = 100    // connections, or indexes, read in one step
	indexStep       = 500    // entries of one index read in one step
	maxWalked       = 10_000 // entries that one page may look at and pass over
	maxLiveGrants   = 100    // entries among the grants of one connection that are read with those of others
	maxCrowded      = 10_000 // and of one that has more
)

// A ConnectionInfo is what operators see of a connection: no token of anybody.
type ConnectionInfo struct {
	Tag                   ath.Tag
	Agent, User, Provider string   // Agent is "" of one that the user's agents share
	Shared                bool     // the user's agents share it
	Agents                []string // those that share it and have a live token, or a standing consent
	Epoch                 string   // of a shared one; see [Connection]
	Scopes                ath.Scopes
	Created               time.Time
	Expires               time.Time // of the user's access token; zero: not known
	Refreshable           bool      // there is a refresh token
	Ended                 bool      // the provider no longer accepts it
	Destination, Bound    string    // see [Connection]
	RefreshStatus         RefreshStatus

	Tokens int       // live ATH tokens
	Until  time.Time // the last of them expires; zero: there is none
	Used   time.Time // last, within some minutes; zero: not known

	Renewals       int       // standing consents (T-8)
	RenewableUntil time.Time // the last of them ends by its own terms, if it is not used; zero: there is none
	Standing       []Renewal // those that stand by their own terms, the newest first
}

// A ConnectionQuery says which connections are meant. What is empty does not
// matter.
type ConnectionQuery struct {
	Agent     string   // agent_id
	User      string   // id at the provider
	Providers []string // any of these names

	After string // Next of the page before; "" for the first page
	Limit int    // at most so many on a page; required
}

func (q *ConnectionQuery) matches(c *ConnectionInfo) bool {
	return (q.Agent == "" || c.Agent == q.Agent || slices.Contains(c.Agents, q.Agent)) && (q.User == "" || c.User == q.User) &&
		(len(q.Providers) == 0 || slices.Contains(q.Providers, c.Provider))
}

// ErrCursor says that [ConnectionQuery].After is not Next of a page of this query.
var ErrCursor = errors.New("store: the cursor is not of a page of such connections")

// A ConnectionPage is a part of a listing. It may be short, or empty, and not be
// the last.
type ConnectionPage struct {
	Connections []ConnectionInfo
	Corrupt     []ath.Tag // of records that do not open
	Next        string    // where the next page starts; "" on the last one
}

// Connections returns a page of connections. What is there during the whole
// listing is on some page; what is used or gets a token meanwhile may be on two.
//
// Of one agent, or of one user, it reads an index. Connections that an athd made
// that keeps no index of users are found by the indexes of agents, and by their
// grants, which say whose they are: behind those of a user's index come such ones.
// Without agent and user, and for those, it walks over all keys, as
// [Store.Agents] does: for operators, not for requests.
//
// A connection without an owner and without a grant shows nowhere: an athd that
// keeps no owners has made it within the last minutes, and it has no token yet.
func (s *Store) Connections(ctx context.Context, q ConnectionQuery) (ConnectionPage, error) {
	if q.Limit <= 0 {
		return ConnectionPage{}, errors.New("store: a listing needs a limit")
	}
	at, err := parseCursor(q.After)
	if err != nil {
		return ConnectionPage{}, err
	}
	if err := s.do(ctx, opKeyset, s.sameKeyset); err != nil {
		return ConnectionPage{}, err
	}
	p := &connectionWalk{Store: s, query: q, at: at, left: maxWalked}
	switch {
	case q.Agent != "":
		index, err := key(ath.AgentTag(q.Agent), string(connectionsKind))
		if err != nil {
			return ConnectionPage{}, err
		}
		err = p.own(ctx, []string{index})
		return p.page, err
	case q.User != "" && at.stage == stageOwn:
		var own []string
		for _, tag := range s.keys.userTags(q.User) {
			index, err := key(tag, string(userConnsKind))
			if err != nil {
				return ConnectionPage{}, err
			}
			own = append(own, index)
		}
		slices.Sort(own)
		if err := p.own(ctx, own); err != nil || p.page.Next != "" {
			return p.page, err
		}
		p.at = connectionCursor{stage: stageAll}
	}
	if p.at.index != "" && p.at.stage != stageAll {
		return ConnectionPage{}, ErrCursor
	}
	err = p.all(ctx)
	return p.page, err
}

// A connectionWalk fills one page.
type connectionWalk struct {
	*Store
	query ConnectionQuery
	at    connectionCursor // what was processed last
	left  int              // entries that may still be looked at
	page  ConnectionPage
}

func (w *connectionWalk) full() bool {
	return w.left <= 0 || len(w.page.Connections)+len(w.page.Corrupt) >= w.query.Limit
}

// own walks over the indexes of one agent or user.
func (w *connectionWalk) own(ctx context.Context, keys []string) error {
	if w.at.stage != stageOwn || w.at.index != "" && !slices.Contains(keys, w.at.index) {
		return ErrCursor
	}
	return w.indexes(ctx, keys, false)
}

// all walks over the indexes of all agents. For a user those with an owner have
// been found by the user's own.
func (w *connectionWalk) all(ctx context.Context) error {
	w.at.stage = stageAll
	for {
		// The index that was begun comes again.
		keys, more, err := w.keysOf(ctx, "scan_connections", connectionsKind, w.at.before())
		if err != nil {
			return err
		}
		if err := w.indexes(ctx, keys, w.query.User != ""); err != nil || w.page.Next != "" || !more {
			return err
		}
		w.at = connectionCursor{stage: stageAll, index: keys[len(keys)-1], over: true}
	}
}

// indexes walks over sorted indexes, from where the page begins.
func (w *connectionWalk) indexes(ctx context.Context, keys []string, ownerless bool) error {
	for len(keys) > 0 && keys[0] < w.at.index || len(keys) > 0 && keys[0] == w.at.index && w.at.over {
		keys = keys[1:]
	}
	for some := range slices.Chunk(keys, connectionBatch) {
		from := make([]float64, len(some))
		if some[0] == w.at.index {
			from[0] = float64(w.at.score)
		}
		found, err := w.readIndexes(ctx, some, from)
		if err != nil {
			return err
		}
		for i, index := range some {
			if index != w.at.index {
				w.at = connectionCursor{stage: w.at.stage, index: index}
			}
			if done, err := w.index(ctx, index, found[i], ownerless); err != nil || done {
				return err
			}
		}
	}
	return nil
}

// index walks over one index, of which the first entries have been read. It is
// done when the page is.
func (w *connectionWalk) index(ctx context.Context, index string, read []redis.Z, ownerless bool) (done bool, err error) {
	offset := int64(0)
	for {
		entries := slices.DeleteFunc(slices.Clone(read), func(z redis.Z) bool { return !w.at.isBefore(z) })
		for some := range slices.Chunk(entries, connectionBatch) {
			if w.full() {
				w.page.Next = w.at.String()
				return true, nil
			}
			infos, err := w.readConnections(ctx, tagsOf(some), ownerless)
			if err != nil {
				return false, err
			}
			for i, z := range some {
				if w.full() {
					w.page.Next = w.at.String()
					return true, nil
				}
				w.left--
				w.take(infos[i], ath.Tag(z.Member.(string)), index)
				w.at.score, w.at.member = int64(z.Score), z.Member.(string)
			}
		}
		if len(read) < indexStep {
			return false, nil
		}
		if last := read[len(read)-1].Score; int64(last) > w.at.score || len(entries) > 0 {
			offset = 0
		} else {
			offset += int64(len(read)) // so many expire in one millisecond
		}
		if read, err = w.readIndex(ctx, index, float64(w.at.score), offset); err != nil {
			return false, err
		}
	}
}

func (w *connectionWalk) take(r connectionRead, tag ath.Tag, index string) {
	switch {
	case r.there && w.at.stage == stageAll && !r.listedAt(index):
	case r.corrupt && w.query.User == "" && len(w.query.Providers) == 0:
		w.page.Corrupt = append(w.page.Corrupt, tag)
	case r.there && w.query.matches(&r.info):
		if !slices.ContainsFunc(w.page.Connections, func(c ConnectionInfo) bool { return c.Tag == tag }) {
			w.page.Connections = append(w.page.Connections, r.info)
		}
	}
}

// listedAt reports whether a connection is to be shown where the index of an agent
// names it. A shared one stands in the indexes of several, and is shown at the
// first of them.
func (r *connectionRead) listedAt(index string) bool {
	first := ""
	for _, agent := range r.info.Agents {
		if at, err := key(ath.AgentTag(agent), string(connectionsKind)); err == nil && (first == "" || at < first) {
			first = at
		}
	}
	return first == "" || first == index
}

func tagsOf(entries []redis.Z) []ath.Tag {
	tags := make([]ath.Tag, len(entries))
	for i, z := range entries {
		tags[i] = ath.Tag(z.Member.(string))
	}
	return tags
}

// readIndexes reads the first entries of each index, and trims it: what is over
// leaves it.
func (s *Store) readIndexes(ctx context.Context, keys []string, from []float64) ([][]redis.Z, error) {
	out := make([][]redis.Z, len(keys))
	err := s.do(ctx, "connection_indexes", func(ctx context.Context) error {
		over := s.now().Add(-clockSkew).UnixMilli()
		got := make([]*redis.ZSliceCmd, len(keys))
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			for i, key := range keys {
				batch.ZRemRangeByScore(ctx, key, "-inf", "("+strconv.FormatInt(over, 10))
				got[i] = batch.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
					Key: key, Start: max(from[i], float64(over)), Stop: "+inf", ByScore: true, Count: indexStep,
				})
			}
		})
		if err != nil {
			return err
		}
		for i, g := range got {
			if out[i], err = g.Result(); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

func (s *Store) readIndex(ctx context.Context, key string, from float64, offset int64) (out []redis.Z, err error) {
	err = s.do(ctx, "connection_indexes", func(ctx context.Context) error {
		var got *redis.ZSliceCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			got = batch.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
				Key: key, Start: from, Stop: "+inf", ByScore: true, Offset: offset, Count: indexStep,
			})
		})
		if err == nil {
			out, err = got.Result()
		}
		return err
	})
	return out, err
}

// Connection returns one, by its tag. ErrNotFound: there is none, or nobody can
// tell whose it is.
func (s *Store) Connection(ctx context.Context, tag ath.Tag) (ConnectionInfo, error) {
	found, err := s.readConnections(ctx, []ath.Tag{tag}, false)
	switch {
	case err != nil:
		return ConnectionInfo{}, err
	case found[0].corrupt:
		return ConnectionInfo{}, ErrCorrupt
	case !found[0].there:
		return ConnectionInfo{}, ErrNotFound
	}
	return found[0].info, nil
}

// byScore orders as an index does.
func (c *connectionCursor) isBefore(z redis.Z) bool {
	member, _ := z.Member.(string)
	return cmp.Or(cmp.Compare(float64(c.score), z.Score), cmp.Compare(c.member, member)) < 0
}

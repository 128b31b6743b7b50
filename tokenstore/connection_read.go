package tokenstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// A connectionRead is a connection as a listing reads it.
type connectionRead struct {
	info           ConnectionInfo
	there, corrupt bool
	owned          bool // it is known whose it is

	key, raw string // of the connection
	grants   []redis.Z
}

// readConnections reads connections by their tags, each in a slot of its own. With
// ownerless only those are read that have no owner.
func (s *Store) readConnections(ctx context.Context, tags []ath.Tag, ownerless bool) ([]connectionRead, error) {
	out := make([]connectionRead, len(tags))
	err := s.do(ctx, "read_connections", func(ctx context.Context) error { return s.readOwned(ctx, out, tags, ownerless) })
	if err != nil {
		return nil, err
	}
	if err := s.readByGrants(ctx, out); err != nil {
		return nil, err
	}
	for i := range out {
		s.finishRead(&out[i], tags[i])
	}
	return out, nil
}

// readOwned reads connections, owners, and the live grants, and opens the owners.
func (s *Store) readOwned(ctx context.Context, out []connectionRead, tags []ath.Tag, ownerless bool) error {
	type asked struct {
		owner  string
		values *redis.SliceCmd
		grants *redis.ZSliceCmd
	}
	all := make([]asked, len(tags))
	err := s.server.ask(ctx, func(batch redis.Pipeliner) {
		for i, tag := range tags {
			connection, err := key(tag, string(connectionKind))
			if err != nil {
				continue // not an entry that athd wrote
			}
			out[i].key = connection
			all[i].owner, _ = ownerKey(tag)
			grants, _ := key(tag, string(grantsKind))
			all[i].values = batch.MGet(ctx, connection, all[i].owner)
			// With the entries of agents without a token, which are few.
			all[i].grants = batch.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{Key: grants, Start: 0, Stop: maxLiveGrants - 1, Rev: true})
		}
	})
	if err != nil {
		return err
	}
	for i, a := range all {
		if a.values == nil {
			continue
		}
		values, err := a.values.Result()
		if err == nil && len(values) != 2 {
			err = errors.New("MGET of 2 keys answered with another number of values")
		}
		if err := errors.Join(err, a.grants.Err()); err != nil {
			return err
		}
		raw, there := values[0].(string)
		owned, isOwned := values[1].(string)
		if !there || ownerless && isOwned {
			continue
		}
		r := &out[i]
		r.raw, r.there, r.grants = raw, true, slices.DeleteFunc(a.grants.Val(), func(z redis.Z) bool {
			digest, _ := z.Member.(string)
			return isHold(digest)
		})
		if !isOwned {
			continue
		}
		if o, err := s.openOwner(a.owner, owned); err == nil {
			r.owned = true
			r.info.Agent, r.info.User, r.info.Provider = o.Agent, o.User, o.Provider
			if o.Used > 0 {
				r.info.Used = time.Unix(o.Used, 0).UTC()
			}
		}
	}
	return nil
}

// readByGrants reads whose those are that have no owner, and which agents share
// a connection: the grants say so.
func (s *Store) readByGrants(ctx context.Context, out []connectionRead) error {
	return s.do(ctx, "read_grants", func(ctx context.Context) error {
		asked := make([]*redis.SliceCmd, len(out))
		keys := make([][]string, len(out))
		n := 0
		for i := range out {
			if r := &out[i]; r.there && (!r.owned || r.info.Agent == "") {
				for _, z := range r.grants {
					digest, _ := z.Member.(string)
					grant, _ := key(tagOf(r.key), string(grantKind), digest)
					keys[i] = append(keys[i], grant)
				}
				n += len(keys[i])
			}
		}
		if n == 0 {
			return nil
		}
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			for i, k := range keys {
				if len(k) > 0 {
					asked[i] = batch.MGet(ctx, k...)
				}
			}
		})
		if err != nil {
			return err
		}
		for i, got := range asked {
			if got == nil {
				continue
			}
			values, err := got.Result()
			if err != nil {
				return err
			}
			for j, value := range values {
				raw, _ := value.(string)
				g, _, err := s.openGrant(keys[i][j], raw)
				if err != nil {
					continue
				}
				if out[i].take(&g, s.now()); !g.Shared {
					break
				}
			}
		}
		return nil
	})
}

// take learns from a grant whose the connection is, and of a shared one which agents
// use it. A grant that says otherwise than the owner says nothing.
func (r *connectionRead) take(g *Grant, now time.Time) {
	i := &r.info
	if !r.owned {
		r.owned = true
		i.Agent, i.User, i.Provider = g.connectionAgent(), g.User, g.Provider
	}
	live := g.Revoked.IsZero() && now.Before(g.Expires)
	if g.Shared && live && i.Agent == "" && g.User == i.User && g.Provider == i.Provider && !slices.Contains(i.Agents, g.Agent) {
		i.Agents = append(i.Agents, g.Agent)
		slices.Sort(i.Agents)
	}
}

// finishRead opens the connection for whom it is said to be. It keeps no token.
func (s *Store) finishRead(r *connectionRead, tag ath.Tag) {
	if !r.there {
		return
	}
	if !r.owned {
		r.there = false
		return
	}
	c, _, err := s.openConnectionOf(r.key, r.raw, ConnectionRef{Tag: tag, Agent: r.info.Agent, User: r.info.User, Provider: r.info.Provider})
	if err != nil {
		r.there, r.corrupt = false, true
		return
	}
	i := &r.info
	i.Tag, i.Scopes, i.Created, i.Expires, i.Ended, i.Destination = tag, c.Scopes, c.Created, c.Expires, c.Ended, c.Destination
	i.Shared, i.Epoch = c.Shared(), c.Epoch
	if !i.Shared {
		i.Agents = nil
	}
	i.Refreshable, i.Renewal = !c.Refresh.IsZero(), c.Renewal
	for _, z := range r.grants {
		if until := time.UnixMilli(int64(z.Score)).UTC(); until.After(s.now()) {
			i.Tokens++
			if until.After(i.Until) {
				i.Until = until
			}
		}
	}
}

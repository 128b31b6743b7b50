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
	renewals []redis.Z
	crowded  bool // there are more of them than are read of many at once
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
		if out[i].crowded {
			if err := s.readCrowded(ctx, &out[i]); err != nil {
				return nil, err
			}
		}
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
		r.raw, r.there = raw, true
		r.crowded = len(a.grants.Val()) == maxLiveGrants
		r.sort(a.grants.Val())
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

// sort takes the entries among a connection's grants.
func (r *connectionRead) sort(entries []redis.Z) {
	r.grants, r.renewals = nil, nil
	for _, z := range entries {
		member, _ := z.Member.(string)
		if _, is := renewalOf(member); is {
			r.renewals = append(r.renewals, z)
		} else if !isHold(member) {
			r.grants = append(r.grants, z)
		}
	}
}

// recordKeys are those of the renewals, and behind them of the grants, where they
// say what the owner does not.
func (r *connectionRead) recordKeys() (keys []string) {
	for _, z := range r.renewals {
		member, _ := z.Member.(string)
		digest, _ := renewalOf(member)
		renewal, _ := renewalKey(tagOf(r.key), digest)
		keys = append(keys, renewal)
	}
	if r.owned && r.info.Agent != "" {
		return keys
	}
	for _, z := range r.grants {
		digest, _ := z.Member.(string)
		grant, _ := key(tagOf(r.key), string(grantKind), digest)
		keys = append(keys, grant)
	}
	return keys
}

// readCrowded reads one connection with all that it is kept for: an agent whose
// tokens end first shares it as well.
func (s *Store) readCrowded(ctx context.Context, r *connectionRead) error {
	index, err := key(tagOf(r.key), string(grantsKind))
	if err != nil {
		return err
	}
	err = s.do(ctx, "read_crowded", func(ctx context.Context) error {
		var live *redis.ZSliceCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			live = batch.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
				Key: index, ByScore: true, Start: s.now().Add(-clockSkew).UnixMilli(), Stop: "+inf", Count: maxCrowded,
			})
		})
		if err != nil {
			return err
		}
		entries, err := live.Result()
		if err == nil {
			r.sort(entries)
		}
		return err
	})
	if err != nil {
		return err
	}
	keys := r.recordKeys()
	return s.readEach(ctx, "read_crowded", keys, func(i int, raw string) bool {
		return s.takeMore(r, keys[i], raw, i < len(r.renewals))
	})
}

// readByGrants reads the renewals, whose those are that have no owner, and which
// agents share a connection: the grants and renewals say so.
func (s *Store) readByGrants(ctx context.Context, out []connectionRead) error {
	return s.do(ctx, "read_grants", func(ctx context.Context) error {
		asked := make([]*redis.SliceCmd, len(out))
		keys := make([][]string, len(out))
		n := 0
		for i := range out {
			if r := &out[i]; r.there && !r.crowded {
				keys[i] = r.recordKeys()
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
				raw, there := value.(string)
				if !there {
					continue
				}
				if !s.takeMore(&out[i], keys[i][j], raw, j < len(out[i].renewals)) {
					break
				}
			}
		}
		return nil
	})
}

// takeMore opens a grant, or a renewal, for take, and says whether the next one can
// tell more: of a connection that nobody shares the first grant tells all.
func (s *Store) takeMore(r *connectionRead, key, raw string, isRenewal bool) bool {
	shares, err := s.takeFrom(r, key, raw, isRenewal)
	return err != nil || shares || isRenewal
}

// takeFrom opens a grant, or a renewal, for take. It says whether the connection is
// shared.
func (s *Store) takeFrom(r *connectionRead, key, raw string, isRenewal bool) (shares bool, err error) {
	if isRenewal {
		v, _, err := s.openRenewal(key, raw)
		if err != nil {
			return false, err
		}
		until, _ := v.Ends(v.Terms)
		live := v.Revoked.IsZero() && s.now().Before(until)
		if r.take(v.Agent, v.Ref(), live); live {
			r.info.Standing = append(r.info.Standing, v)
		}
		return v.Shared, nil
	}
	g, _, err := s.openGrant(key, raw)
	if err != nil {
		return false, err
	}
	r.take(g.Agent, g.Ref(), g.Revoked.IsZero() && s.now().Before(g.Expires))
	return g.Shared, nil
}

// take learns from a grant, or a renewal, whose the connection is, and of a shared
// one which agents use it. One that says otherwise than the owner says nothing.
func (r *connectionRead) take(agent string, of ConnectionRef, live bool) {
	i := &r.info
	if !r.owned {
		r.owned = true
		i.Agent, i.User, i.Provider = of.Agent, of.User, of.Provider
	}
	if of.Agent == "" && live && i.Agent == "" && of.User == i.User && of.Provider == i.Provider && !slices.Contains(i.Agents, agent) {
		i.Agents = append(i.Agents, agent)
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
	i.Tag, i.Scopes, i.Created, i.Expires, i.Ended, i.Destination, i.Bound = tag, c.Scopes, c.Created, c.Expires, c.Ended, c.Destination, c.Bound
	i.Shared, i.Epoch = c.Shared(), c.Epoch
	if !i.Shared {
		i.Agents = nil
	}
	i.Refreshable, i.RefreshStatus = !c.Refresh.IsZero(), c.RefreshStatus
	i.Tokens, i.Until = countLive(r.grants, s.now())
	i.Renewals, i.RenewableUntil = countLive(r.renewals, s.now())
	slices.SortStableFunc(i.Standing, func(a, b Renewal) int { return b.Issued.Compare(a.Issued) })
}

// countLive says how many entries are not over, and when the last of them is.
func countLive(entries []redis.Z, now time.Time) (n int, last time.Time) {
	for _, z := range entries {
		if until := time.UnixMilli(int64(z.Score)).UTC(); until.After(now) {
			n++
			if until.After(last) {
				last = until
			}
		}
	}
	return n, last
}

package tokenstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// endLua defines ends for the scripts that end connections, before they write
// anything.
//
// c and r are the indexes of connection and revocation among KEYS; from a on, ARGV
// has the connection's bytes, the sealed revocation and its ttl in ms. Bytes of ""
// say that there is no connection, '*' that it ends whatever it is, and '-' that
// this is not its end. The revocation, if it is not "", takes the connection's
// place. ends is false where the connection is another one than was read, unless
// this is a second time.
const endLua = `
local function ends(c, r, a)
  if ARGV[a] == '*' then return true end
  local now = redis.call('GET', KEYS[c]) or ''
  if now == ARGV[a] then
    if now ~= '' and ARGV[a + 1] ~= '' then redis.call('SET', KEYS[r], ARGV[a + 1], 'PX', ARGV[a + 2]) end
    return true
  end
  return now == '' and ARGV[a + 1] ~= '' and redis.call('GET', KEYS[r]) == ARGV[a + 1]
end`

// What [endLua] takes in place of a connection's bytes.
const (
	anyConnection = "*"
	notItsEnd     = "-"
)

// An ending is what endLua needs.
type ending struct {
	key                    string // of the revocation
	connection, revocation string
	ttl                    int64

	whose    ConnectionRef
	upstream Upstream
}

// endRounds is how often a connection may be another one than was read before it
// is ended whatever it is.
const endRounds = 5

// end is the one way in which a connection ends: script deletes it, and puts what
// is to be revoked at the provider in its place, which a script cannot seal. holders
// are those that end; where there are others it stays, unless all of it is to end. That the tokens cannot
// be kept for the provider is never a reason not to end it.
func (s *Store) end(ctx context.Context, tag ath.Tag, holders []holder, all bool, at time.Time, script func(ending) error) (Upstream, error) {
	key, err := revocationKey(tag)
	if err != nil {
		return UpstreamNone, err
	}
	if s.upstream == nil {
		return UpstreamNone, script(ending{key: key, connection: anyConnection})
	}
	if at.IsZero() {
		at = s.now()
	}
	queued := UpstreamNone
	for round := 1; ; round++ {
		e, err := s.prepareEnd(ctx, tag, key, holders, all, at)
		if err != nil {
			return queued, err
		}
		if round == endRounds {
			e.connection, e.revocation, e.upstream = anyConnection, "", UpstreamUnreadable
		}
		if e.revocation != "" {
			s.announceRevocation(ctx, tag)
		}
		err = script(e)
		if e.upstream == UpstreamNone && queued != UpstreamNone {
			e.upstream = queued // an earlier round, whose answer was lost
		}
		switch {
		case errors.Is(err, ErrChanged) && round < endRounds:
			continue
		case err != nil:
			return e.upstream, err
		}
		if e.revocation != "" {
			s.queueRevocation(ctx, tag)
		}
		if e.upstream != UpstreamNone {
			s.upstream.Ended(e.whose, e.upstream)
		}
		return e.upstream, nil
	}
}

// prepareEnd reads a connection that is to end, and seals what is left of it.
func (s *Store) prepareEnd(ctx context.Context, tag ath.Tag, of string, holders []holder, all bool, at time.Time) (ending, error) {
	e := ending{key: of, ttl: 1, whose: ConnectionRef{Tag: tag}}
	connection, err := key(tag, string(connectionKind))
	if err != nil {
		return e, err
	}
	index, _ := key(tag, string(grantsKind))
	ownedBy, _ := ownerKey(tag)
	var ownedRaw string
	var others bool
	err = s.do(ctx, "read_ending", func(ctx context.Context) error {
		var values *redis.SliceCmd
		var live *redis.StringSliceCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			values = batch.MGet(ctx, connection, ownedBy)
			live = batch.ZRangeArgs(ctx, redis.ZRangeArgs{
				Key: index, Start: s.now().Add(-clockSkew).UnixMilli(), Stop: "+inf", ByScore: true, Count: int64(len(holders)) + 1,
			})
		})
		if err != nil {
			return err
		}
		got, err := values.Result()
		if err == nil && len(got) != 2 {
			err = errors.New("MGET of 2 keys answered with another number of values")
		}
		if err := errors.Join(err, live.Err()); err != nil {
			return err
		}
		e.connection, _ = got[0].(string)
		ownedRaw, _ = got[1].(string)
		others = slices.ContainsFunc(live.Val(), func(member string) bool {
			return !slices.ContainsFunc(holders, func(h holder) bool { return h.member == member })
		})
		return nil
	})
	switch {
	case err != nil:
		return e, err
	case others && !all:
		e.connection = notItsEnd // the script looks again
		return e, nil
	case e.connection == "":
		return e, nil
	}
	for _, h := range holders {
		e.whose = h.ref
	}
	if len(holders) == 0 {
		if o, err := s.openOwner(ownedBy, ownedRaw); err == nil {
			e.whose.Agent, e.whose.User, e.whose.Provider = o.Agent, o.User, o.Provider
		}
	}
	e.upstream = UpstreamUnreadable
	if e.whose.User == "" {
		return e, nil // nobody can tell for whom it would open
	}
	c, _, err := s.openConnectionOf(connection, e.connection, e.whose)
	if err != nil {
		return e, nil //nolint:nilerr // it ends all the same
	}
	if e.upstream = s.upstream.Judge(tag, &c); e.upstream != UpstreamQueued {
		return e, nil
	}
	r := revocationOf(tag, &c, at)
	if e.revocation, err = s.sealRevocation(of, r, nil); err != nil {
		e.revocation, e.upstream = "", UpstreamUnreadable
	}
	e.ttl = s.revocationTTL(&r)
	return e, nil
}

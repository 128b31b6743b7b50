package tokenstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/ath"
)

// A HealState is a connection as it stands before it is healed.
type HealState struct {
	Connection Connection
	// Held are the scopes that the agent still holds there, by grants and renewals
	// that are neither revoked nor over, or as many of them as cover the
	// connection's; empty: it has been ended for the agent, on purpose
	// or by time, and there is nothing to heal.
	Held ath.Scopes

	ref ConnectionRef
	key string
	raw string
	x   extra
	// came is how long before it was read the tokens came, of a connection that is
	// shared or was healed; orderKept: or longer. read is when that was, or just before.
	came time.Duration
	read time.Time
}

// SameTokens reports whether both states have the same tokens.
func (s *HealState) SameTokens(as *HealState) bool {
	a, b := &s.Connection, &as.Connection
	return a.Access.Reveal() == b.Access.Reveal() && a.Refresh.Reveal() == b.Refresh.Reveal()
}

// HealState reads the connection of a healing, and what the agent has of it. today
// are the terms of standing consents that hold now. ErrNotFound: it has ended.
func (s *Store) HealState(ctx context.Context, h *Healing, today ath.RenewalTerms) (HealState, error) {
	out := HealState{ref: h.Ref()}
	var err error
	if out.key, err = key(h.Connection, string(connectionKind)); err != nil {
		return HealState{}, err
	}
	index, _ := key(h.Connection, string(grantsKind))
	order, _ := key(h.Connection, string(orderKind))
	var members []string
	err = s.do(ctx, "heal_state", func(ctx context.Context) error {
		out.read = time.Now()
		var raw *redis.StringCmd
		var left *redis.DurationCmd
		var live *redis.StringSliceCmd
		err := s.server.ask(ctx, func(batch redis.Pipeliner) {
			raw, left = batch.Get(ctx, out.key), batch.PTTL(ctx, order)
			live = batch.ZRangeArgs(ctx, redis.ZRangeArgs{Key: index, ByScore: true, Start: s.now().Add(-clockSkew).UnixMilli(), Stop: "+inf"})
		})
		if err != nil {
			return err
		}
		if out.raw, err = raw.Result(); errors.Is(err, redis.Nil) {
			return ErrNotFound
		}
		if err := errors.Join(err, left.Err(), live.Err()); err != nil {
			return err
		}
		out.came, members = orderKept-max(0, left.Val()), live.Val()
		out.Connection, out.x, err = s.openConnectionOf(out.key, out.raw, out.ref)
		if err == nil && out.Connection.Epoch != out.ref.Epoch {
			err = ErrNotFound // what is meant has ended, and the user has consented again
		}
		return err
	})
	if err != nil {
		return HealState{}, err
	}
	// All of them: another agent that shares the connection may have many.
	keys, renewals := holderKeys(h.Connection, members)
	err = s.readEach(ctx, "heal_grants", keys, func(i int, raw string) bool {
		out.Held = out.Held.Union(s.heldOf(h, keys[i], raw, i < renewals, today))
		return len(out.Held) == 0 || len(out.Connection.Scopes.Minus(out.Held)) > 0
	})
	if err != nil {
		return HealState{}, err
	}
	return out, nil
}

// heldOf are the scopes of one grant or renewal; none of one that is over, or not the
// agent's, or does not open: no token of it works.
func (s *Store) heldOf(h *Healing, key, raw string, renewal bool, today ath.RenewalTerms) ath.Scopes {
	if !renewal {
		g, _, err := s.openGrant(key, raw)
		if err == nil && g.Ref() == h.Ref() && g.Agent == h.Agent && g.ClientID == h.ClientID && g.Generation == h.Generation &&
			g.Revoked.IsZero() && s.now().Before(g.Expires) {
			return g.Scopes
		}
		return nil
	}
	r, _, err := s.openRenewal(key, raw)
	if err == nil && r.Ref() == h.Ref() && r.Agent == h.Agent && r.ClientID == h.ClientID && r.Generation == h.Generation && r.Revoked.IsZero() {
		if end, _ := r.Ends(today); s.now().Before(end) {
			return r.Scopes
		}
	}
	return nil
}

// Heal replaces the tokens of a connection, if it is what was read: in the same
// record, for as long as it would have been there, so that every grant on it works
// again and none is new. Whoever is at a refresh of the tokens of before cannot
// store what comes of it. came is when the new ones came, by the monotonic clock.
//
// ErrChanged: read it again. ErrExists: the tokens that are there came after these.
// It waits for replicas as [Config].WaitReplicas says. After ErrUnavailable it may
// have happened.
func (s *Store) Heal(ctx context.Context, state *HealState, next Connection, came time.Time) error {
	if state.raw == "" {
		return errNotHeld
	}
	// Both as they were when it was read, which may be a while ago: in doubt these are
	// the last.
	if state.came < min(state.read.Sub(came), orderKept) {
		return ErrExists
	}
	age := max(0, time.Since(came))
	next.Epoch = state.ref.Epoch
	sealed, err := s.sealConnection(state.key, state.ref, next, state.x)
	if err != nil {
		return err
	}
	tag := state.ref.Tag
	keys, err := refreshKeysOf(tag)
	if err != nil {
		return err
	}
	order, _ := key(tag, string(orderKind))
	revocation, _ := revocationKey(tag)
	err = s.do(ctx, "heal", func(ctx context.Context) error {
		return s.confirmed(ctx, s.scripts.heal, ErrChanged, []string{keys.connection, keys.lease, keys.attempt, order, revocation},
			state.raw, sealed, max(1, (orderKept-age).Milliseconds()))
	})
	if err == nil {
		s.keepNext(ctx, tag, &next)
	}
	return err
}

// KeepShared gives the connection that a user's agents share at a provider the tokens
// of a consent that comes to nothing else: the server may have ended those that are
// there with it. It makes none where there is none, and reports whether there is one.
// next makes of it what is stored.
func (s *Store) KeepShared(ctx context.Context, user, provider, destination string, came time.Time, next func(Connection) Connection) (bool, error) {
	for range shareTries {
		at, err := s.sharedState(ctx, user, provider, destination, nil)
		if err != nil || at.raw == "" || at.over {
			return false, err
		}
		state := HealState{ref: at.ref, key: at.key, raw: at.raw, x: at.x, came: at.came, read: at.read}
		if state.Connection, _, err = s.openConnectionOf(at.key, at.raw, at.ref); err != nil {
			return false, err
		}
		switch err := s.Heal(ctx, &state, next(state.Connection), came); {
		case errors.Is(err, ErrExists): // there are later ones
			return true, nil
		case !errors.Is(err, ErrChanged):
			return err == nil, err
		}
	}
	return false, ErrChanged
}

package tokenstore

import (
	"context"
	"errors"

	"github.com/athd/athd/ath"
)

// CreateAgent stores a registration under the tag that follows from its id.
// ErrExists: the agent is registered already.
func (s *Store) CreateAgent(ctx context.Context, a Agent) error {
	key, err := agentKey(ath.AgentTag(a.ID))
	if err != nil {
		return err
	}
	sealed, err := s.sealAgent(key, a, nil)
	if err != nil {
		return err
	}
	return s.create(ctx, "create_agent", key, sealed, s.agentTTL(&a))
}

// Agent returns the registration with this tag: of an agent id or a client id.
// The tag proves nothing: callers compare the id that they were given.
func (s *Store) Agent(ctx context.Context, tag ath.Tag) (Held[Agent], error) {
	key, err := agentKey(tag)
	if err != nil {
		return Held[Agent]{}, err
	}
	return get(ctx, s, "agent", key, s.openAgent)
}

// SwapAgent replaces a registration as it was read. ErrChanged: somebody else
// did so first, or it is gone. An agent's id never changes. It waits for
// replicas as [Config].WaitReplicas says; a swap for the same value waits for
// what was written before. What gives the agent nothing new succeeds also when
// the server is full.
func (s *Store) SwapAgent(ctx context.Context, old Held[Agent], next Agent) error {
	if old.key == "" {
		return errNotHeld
	}
	if next.ID != old.Value.ID {
		return errors.New("store: an agent's record cannot pass to another id")
	}
	sealed, err := s.sealAgent(old.key, next, old.x)
	if err != nil {
		return err
	}
	script := s.scripts.swap
	if next.givesNoMoreThan(&old.Value) {
		script = s.scripts.swapRevoking
	}
	keys, args := s.feed.announcing([]string{old.key}, []any{old.raw, sealed, s.agentTTL(&next)},
		announce(AgentChanged, ath.AgentTag(next.ID), ""))
	return s.do(ctx, "swap_agent", func(ctx context.Context) error {
		return s.confirmed(ctx, script, ErrChanged, keys, args...)
	})
}

func agentKey(tag ath.Tag) (string, error) { return key(tag, string(agentKind)) }

func (s *Store) sealAgent(key string, a Agent, x extra) (string, error) {
	plain, err := encodeAgent(a, x)
	if err != nil {
		return "", err
	}
	return s.keys.seal(agentKind, key, plain)
}

func (s *Store) openAgent(key, raw string) (Agent, extra, error) {
	plain, err := s.open(agentKind, key, raw)
	if err != nil {
		return Agent{}, nil, err
	}
	return decodeAgent(plain)
}

// AgentBytes is how long a registration is in the store, within a few bytes.
func AgentBytes(a Agent) (int, error) {
	plain, err := encodeAgent(a, nil)
	return len(plain) + sealBytes, err
}

package tokenstore

import (
	"context"

	"github.com/athd/athd/ath"
)

// A Reading is what a decision needs from the store. nil: there is no such
// record. Readings share their records: nobody may change one.
type Reading struct {
	Grant      *Grant      // of the token; may be expired or revoked
	Connection *Connection // of the grant; nil without one
	Agent      *Agent      // of the agent id that the request named, which the grant need not be for (P-2)
}

// Read reads for one decision: the token's grant, its connection, and the
// standing of the agent that the request names, in one batch and from masters
// only. Grant and connection are of the same moment. The connection opens only
// for the agent, user and provider of the grant. On an error the Reading is
// empty.
func (s *Store) Read(ctx context.Context, token ath.Token, agentID string) (Reading, error) {
	keys, err := keysOf(token)
	if err != nil {
		return Reading{}, err
	}
	return s.readKeys(ctx, keys, agentID)
}

// ReadHeld is [Store.Read] for a token of which only tag and digest are known: of a
// call that was allowed, and goes on.
func (s *Store) ReadHeld(ctx context.Context, tag ath.Tag, digest ath.Digest, agentID string) (Reading, error) {
	keys, err := keysOfDigest(tag, digest)
	if err != nil {
		return Reading{}, err
	}
	return s.readKeys(ctx, keys, agentID)
}

func (s *Store) readKeys(ctx context.Context, keys connectionKeys, agentID string) (Reading, error) {
	agentKey, err := agentKey(ath.AgentTag(agentID))
	if err != nil {
		return Reading{}, err
	}
	var out Reading
	err = s.try(ctx, "read", func(ctx context.Context) error {
		values, err := s.batcher.fetch(ctx, [3]string{keys.grant, keys.connection, agentKey})
		if err != nil {
			return err
		}
		if err := s.readPair(&out, keys, values[0], values[1]); err != nil {
			return err
		}
		return s.readAgent(&out, agentKey, agentID, values[2])
	})
	if err != nil {
		return Reading{}, err
	}
	return out, nil
}

func (s *Store) readPair(out *Reading, keys connectionKeys, ofGrant, ofConnection any) error {
	raw, ok := ofGrant.(string)
	if !ok {
		return nil // no grant: nothing says whom a connection here would belong to
	}
	grant, err := s.grants.get(keys.grant, raw)
	if err != nil {
		return err
	}
	out.Grant = grant
	if raw, ok = ofConnection.(string); !ok {
		return nil
	}
	connection, err := s.openConnection(keys.connection, raw, grant)
	if err != nil {
		return err
	}
	out.Connection = connection
	return nil
}

func (s *Store) readAgent(out *Reading, key, agentID string, ofAgent any) error {
	raw, ok := ofAgent.(string)
	if !ok {
		return nil
	}
	agent, err := s.agents.get(key, raw)
	if err != nil {
		return err
	}
	// Tags have 96 bits: two ids that share one can be made, with effort.
	if agent.ID == agentID {
		out.Agent = agent
	}
	return nil
}

package tokenstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// errUnconfirmed is the cause when the master has run the script, but too few
// replicas acknowledged it in time.
var errUnconfirmed = errors.New("written, but not confirmed by enough replicas")

// confirmed is run for a script that revokes: with [Config].WaitReplicas it
// succeeds only once that many replicas have what the script wrote, so that no
// failover to one of them restores what was revoked.
//
// The script must write whenever it returns 1, also when it finds its own
// first attempt: WAIT waits for what this connection wrote.
func (s *Store) confirmed(ctx context.Context, script script, unmet error, keys []string, args ...any) error {
	if s.waitReplicas == 0 {
		return s.run(ctx, script, unmet, keys, args...)
	}
	return s.pick(script, func(text *redis.Script) error { return s.runConfirmed(ctx, text, unmet, keys, args) })
}

func (s *Store) runConfirmed(ctx context.Context, script *redis.Script, unmet error, keys []string, args []any) error {
	cluster, isCluster := s.server.client().(*redis.ClusterClient)
	if !isCluster {
		return s.runAndWait(ctx, s.server.ask, script, unmet, keys, args)
	}
	// A batch of the cluster client would send WAIT, which has no key, to any
	// node. With the client of one node, redirections are followed here.
	for moved := false; ; moved = true {
		node, err := cluster.MasterForKey(ctx, keys[0])
		if err != nil {
			return err
		}
		err = s.runAndWait(ctx, askOf(node), script, unmet, keys, args)
		if err == nil || isAnswer(err) || errors.Is(err, errUnconfirmed) {
			return err
		}
		if _, is := redis.IsMovedError(err); !is || moved {
			cluster.ReloadState(ctx) // in the background, for the next one
			return err
		}
		// This reloads which node has which slot before it returns.
		if err := cluster.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil }); err != nil {
			return err
		}
	}
}

// runAndWait is one round trip. The script goes as a whole, since its digest
// alone might be unknown to the server, and nothing could be sent between.
func (s *Store) runAndWait(ctx context.Context, ask asker, script *redis.Script, unmet error, keys []string, args []any) error {
	var ran, have *redis.Cmd
	err := ask(ctx, func(batch redis.Pipeliner) {
		ran = script.Eval(ctx, batch, keys, args...)
		// Half of the timeout, so that the answer comes within it.
		have = batch.Do(ctx, "WAIT", s.waitReplicas, (s.timeout / 2).Milliseconds())
	})
	if err == nil {
		err = ran.Err()
	}
	if err != nil {
		s.mayHaveDone(err, args)
		return err
	}
	done, err := ran.Int64()
	if err != nil {
		return err
	}
	if err := s.verdict(done, unmet, args); err != nil {
		return err
	}
	switch n, err := have.Int(); {
	case err != nil:
		return err
	case n < s.waitReplicas:
		return fmt.Errorf("%w: by %d of %d", errUnconfirmed, n, s.waitReplicas)
	}
	return nil
}

package tokenstore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// TestWaitReplicas holds that what takes rights away is acknowledged only once
// the replica has it, that a second try is not fooled by the first one's work,
// and that nothing else waits.
// proves: R-6, V-4
func TestWaitReplicas(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) (url string, replica *realredis.Server, change func(*tokenstore.Config)){
		"Sentinel": func(t *testing.T) (string, *realredis.Server, func(*tokenstore.Config)) {
			w := realredis.StartWatched(t, 1)
			return w.URL(), w.Servers[1], func(c *tokenstore.Config) { c.SentinelPassword = ath.NewSecret(w.SentinelPassword) }
		},
		"cluster": func(t *testing.T) (string, *realredis.Server, func(*tokenstore.Config)) {
			nodes := realredis.StartCluster(t, 1)
			replica := realredis.AddReplica(t, nodes[0])
			return fmt.Sprintf("redis+cluster://:%s@%s", nodes[0].Password(), nodes[0].Addr()), replica, func(*tokenstore.Config) {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, replica, change := start(t)
			// One that gives up soon, for what must fail, and one that a busy machine
			// cannot make fail, for all else.
			b := backend{url: url, keys: newKeyset(t), change: change}
			hasty := b.open(t, func(c *tokenstore.Config) { c.WaitReplicas, c.Timeout = 1, time.Second })
			s := b.open(t, func(c *tokenstore.Config) { c.WaitReplicas, c.Timeout = 1, time.Minute })
			f, ctx := newFlow(t), t.Context()
			f.store(t, s)
			agent, err := s.Agent(ctx, ath.AgentTag(f.agent.ID))
			noErr(t, err)
			next := agent.Value
			next.Suspended = true
			grant, err := s.Grant(ctx, f.token)
			noErr(t, err)

			replica.Pause()
			for range 7 { // more than the breaker takes: the master is well
				wantErr(t, hasty.Revoke(ctx, grant, time.Now()), tokenstore.ErrUnavailable)
			}
			grant, err = s.Grant(ctx, f.token)
			noErr(t, err)
			if grant.Value.Revoked.IsZero() {
				t.Error("V-4: the master did not take it")
			}
			wantErr(t, hasty.Revoke(ctx, grant, time.Now()), tokenstore.ErrUnavailable) // of a tombstone
			wantErr(t, hasty.SwapAgent(ctx, agent, next), tokenstore.ErrUnavailable)
			newFlow(t).store(t, s) // what gives nobody less does not wait

			replica.Resume()
			replica.AwaitLink() // it may have been away for so long that it has to join again
			noErr(t, s.Revoke(ctx, grant, time.Now()))
			agent, err = s.Agent(ctx, ath.AgentTag(f.agent.ID))
			noErr(t, err)
			if !agent.Value.Suspended {
				t.Error("R-6: the master did not take the suspension")
			}
			noErr(t, s.SwapAgent(ctx, agent, agent.Value))
		})
	}
}

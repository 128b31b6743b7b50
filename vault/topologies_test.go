package vault_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// One call for all replicas in a cluster, too, and behind Sentinels, where each
// step waits for a replica of Redis.
func TestOneCallOnEachTopology(t *testing.T) {
	for name, start := range map[string]func(*testing.T) tokenstore.Config{
		"cluster": func(t *testing.T) tokenstore.Config {
			nodes := realredis.StartCluster(t, 2)
			return tokenstore.Config{URL: fmt.Sprintf("redis+cluster://:%s@%s", nodes[0].Password(), nodes[0].Addr())}
		},
		"Sentinels, waiting for a replica": func(t *testing.T) tokenstore.Config {
			w := realredis.StartWatched(t, 1)
			return tokenstore.Config{URL: w.URL(), SentinelPassword: ath.NewSecret(w.SentinelPassword), WaitReplicas: 1}
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := start(t)
			config.Timeout = 5 * time.Second
			w := newWorld(t, 4, config, nil, nil)
			var calls []call
			for range 8 { // in both masters' slots
				calls = append(calls, w.connect(-time.Second))
			}
			for _, c := range calls {
				if y := w.storm(25, c); !y.only(authz.Allowed, authz.ProviderUnavailable) {
					t.Errorf("decisions: %v", y)
				}
				until(t, "it is refreshed", 10*time.Second, func() bool { return w.renewed(c) })
				if y := w.storm(5, c); !y.only(authz.Allowed) {
					t.Errorf("decisions once it is there: %v", y)
				}
				if l := w.endpoint.of(c.first.Refresh.Reveal()); l.calls != 1 {
					t.Errorf("%d calls", l.calls)
				}
			}
		})
	}
}

// A failover in the call loses nothing that was acknowledged by a replica: the new
// master knows of the attempt, and takes the outcome.
func TestAFailoverInTheCall(t *testing.T) {
	redis := realredis.StartWatched(t, 1)
	w := newWorld(t, 2, tokenstore.Config{URL: redis.URL(), SentinelPassword: ath.NewSecret(redis.SentinelPassword), WaitReplicas: 1, Timeout: time.Second}, nil, nil)
	c := w.connect(-time.Second)
	asked, release := w.endpoint.held()
	go w.replicas[0].ask(c)
	waitAsked(t, asked)
	redis.Failover()
	close(release)
	until(t, "it is refreshed", 30*time.Second, func() bool {
		state, err := w.replicas[1].store.RefreshState(t.Context(), c.ref)
		return err == nil && !state.Connection.Access.Equal(c.first.Access.Reveal()) && w.endpoint.Alive(state.Connection.Refresh.Reveal())
	})
	if n := w.endpoint.Calls(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// Decisions on a token that will be refreshed say so each time: that costs nothing.
func TestSoonAllocatesNothing(t *testing.T) {
	w := newWorld(t, 1, tokenstore.Config{URL: tokenstore.Embedded}, nil, nil)
	r := w.replicas[0]
	c := w.connect(150 * time.Second) // within what is watched, before its margin
	g := grantOf(c)
	r.vault.Soon(w.provider, g, &c.first)
	if n := testing.AllocsPerRun(1000, func() { r.vault.Soon(w.provider, g, &c.first) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

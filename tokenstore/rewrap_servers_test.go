package tokenstore_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// A rewrap is over when the replicas have it: the key that they would need is about
// to go.
func TestARewrapWaitsForReplicas(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (string, []*realredis.Server){
		"one server": func(t *testing.T) (string, []*realredis.Server) {
			server := realredis.Start(t)
			return server.URL(), []*realredis.Server{server}
		},
		"cluster": func(t *testing.T) (string, []*realredis.Server) {
			nodes := realredis.StartCluster(t, 2)
			return fmt.Sprintf("redis+cluster://:%s@%s", nodes[0].Password(), nodes[0].Addr()), nodes
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, masters := start(t)
			r := newRotation(t)
			older := backend{url: url, keys: r.added}.open(t)
			_, err := older.Ready(t.Context())
			noErr(t, err)
			for range 20 { // some on each master
				noErr(t, older.CreateAgent(t.Context(), newFlow(t).agent))
			}
			s := backend{url: url, keys: r.promoted}.open(t, func(c *tokenstore.Config) { c.WaitReplicas, c.Timeout = 1, time.Second })
			soon, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			done, err := s.Rewrap(soon, tokenstore.Rewrap{})
			wantErr(t, err, tokenstore.ErrUnavailable)
			if !strings.Contains(err.Error(), "not confirmed") || done.Records["agent"] != 20 {
				t.Errorf("%v, of %+v", err, done)
			}
			// It goes on where there is nothing left to seal.
			again, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err = s.Rewrap(again, tokenstore.Rewrap{})
			wantErr(t, err, tokenstore.ErrUnavailable)
			for _, master := range masters {
				if len(masters) > 1 {
					realredis.AddReplica(t, master)
				} else {
					realredis.StartReplica(t, master)
				}
			}
			done, err = s.Rewrap(t.Context(), tokenstore.Rewrap{})
			noErr(t, err)
			if len(done.Records) > 0 {
				t.Errorf("%+v", done)
			}
		})
	}
}

// While slots move, a key can pass behind whoever looks.
func TestKeysAreNotCountedWhileSlotsMove(t *testing.T) {
	nodes := realredis.StartCluster(t, 2)
	ctx := t.Context()
	var once sync.Once
	move := func() {
		to := nodes[1].Client().ClusterMyID(ctx).Val()
		for _, node := range nodes {
			if err := node.Client().Do(ctx, "CLUSTER", "SETSLOT", 0, "NODE", to).Err(); err != nil {
				t.Error(err)
			}
		}
	}
	b := backend{url: fmt.Sprintf("redis+cluster://:%s@%s", nodes[0].Password(), nodes[0].Addr()), keys: newKeyset(t)}
	moving := false
	s := b.open(t, func(c *tokenstore.Config) {
		c.Observe = func(op string, _ time.Duration, _ error) {
			if op == "read_keys" && moving {
				once.Do(move)
			}
		}
	})
	_, err := s.Ready(ctx)
	noErr(t, err)
	_, err = s.KeyUses(ctx)
	noErr(t, err)
	moving = true
	_, err = s.KeyUses(ctx)
	wantErr(t, err, tokenstore.ErrMoved)
	for { // until the client has heard of it
		_, err := s.KeyUses(ctx)
		if err == nil {
			break
		}
		wantErr(t, err, tokenstore.ErrMoved)
	}
}

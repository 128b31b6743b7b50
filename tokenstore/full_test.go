package tokenstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// What takes rights away works on a server whose memory is full; what gives
// them does not.
// S-2; proves, V-4
func TestRightsCanBeRevokedWhenTheServerIsFull(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (backend, []*realredis.Server){
		"standalone": func(t *testing.T) (backend, []*realredis.Server) {
			server := realredis.Start(t)
			return backend{url: server.URL()}, []*realredis.Server{server}
		},
		"cluster": func(t *testing.T) (backend, []*realredis.Server) {
			nodes := realredis.StartCluster(t, 2)
			return backend{url: fmt.Sprintf("redis+cluster://:%s@%s", nodes[0].Password(), nodes[0].Addr())}, nodes
		},
		"Sentinel, waiting for a replica": func(t *testing.T) (backend, []*realredis.Server) {
			w := realredis.StartWatched(t, 1)
			return backend{url: w.URL(), change: func(c *tokenstore.Config) {
				c.SentinelPassword, c.WaitReplicas = ath.NewSecret(w.SentinelPassword), 1
			}}, w.Servers
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, servers := start(t)
			b.keys = newKeyset(t)
			s, ctx := b.revoking(t, &policy{}), t.Context()
			give := verbs(t, s)
			_, err := s.Ready(ctx)
			noErr(t, err)
			revoked, suspended, removed, denied, cut := newFlow(t), newFlow(t), newFlow(t), newFlow(t), newFlow(t)
			for _, f := range []flow{revoked, suspended, removed, denied, cut} {
				f.store(t, s)
			}
			grant, err := s.Grant(ctx, revoked.token)
			noErr(t, err)
			agentOf := func(f flow) tokenstore.Held[tokenstore.Agent] {
				held, err := s.Agent(ctx, ath.AgentTag(f.agent.ID))
				noErr(t, err)
				return held
			}
			session, err := s.Session(ctx, revoked.sessionID.Tag())
			noErr(t, err)
			for _, server := range servers {
				noErr(t, server.Client().ConfigSet(ctx, "maxmemory", "1").Err())
			}

			for _, what := range []string{"create agent", "create session", "put connection", "put grant", "once"} {
				if err := give[what](ctx, s); !errors.Is(err, tokenstore.ErrUnavailable) {
					t.Errorf("%s: %v, on a full server", what, err)
				} else if got := tokenstore.Reason(err); got != "the server's memory is full (maxmemory)" {
					t.Errorf("%s: the reason is %q", what, got)
				}
			}
			more := agentOf(suspended).Value
			more.ApprovalExpires = more.ApprovalExpires.Add(time.Hour)
			wantErr(t, s.SwapAgent(ctx, agentOf(suspended), more), tokenstore.ErrUnavailable)

			start := time.Now()
			noErr(t, s.Revoke(ctx, grant, time.Now()))
			next := agentOf(suspended).Value
			next.Suspended, next.Generation = true, next.Generation+1
			noErr(t, s.SwapAgent(ctx, agentOf(suspended), next))
			_, err = s.EndConnections(ctx, suspended.agent.ID, time.Now())
			noErr(t, err)
			noErr(t, s.EndUser(ctx, "u1", []string{"github"}, time.Now()))
			_, err = s.EndConnection(ctx, cut.token.Tag(), time.Now())
			noErr(t, err)
			for _, f := range []flow{revoked, suspended, cut} {
				queued(t, s, f) // V-5
			}
			less := agentOf(denied).Value
			less.Approvals = []tokenstore.Approval{less.Approvals[0]}
			less.Approvals[0].Approved, less.Approvals[0].Denied = nil, ath.Scopes{"admin", "repo"}
			less.Approvals[0].OperatorDenied = ath.Scopes{"admin", "repo"}
			noErr(t, s.SwapAgent(ctx, agentOf(denied), less))
			noErr(t, s.RemoveAgent(ctx, agentOf(removed)))
			noErr(t, s.DeleteGrant(ctx, removed.token))
			ended := session.Value
			ended.Phase = tokenstore.Refused
			_, err = s.SwapSession(ctx, session, ended)
			noErr(t, err)
			if took := time.Since(start); took > time.Second+slack {
				t.Errorf("it took %v", took)
			}
			hosts, err := s.HostSuspensions(ctx)
			noErr(t, err)
			pattern, err := ath.ParseHostPattern("*.evil.example")
			noErr(t, err)
			noErr(t, s.SwapHostSuspensions(ctx, hosts, []tokenstore.HostSuspension{{Hosts: pattern, By: "ops", Since: time.Now()}}))
			hosts, err = s.HostSuspensions(ctx)
			noErr(t, err)
			if len(hosts.Value) != 1 {
				t.Errorf("the hosts are %+v", hosts.Value)
			}
			wantErr(t, s.SwapHostSuspensions(ctx, hosts, nil), tokenstore.ErrUnavailable)
			tag := ath.NewTag()
			for _, first := range []bool{true, false} { // the proof of who removes itself is used once here too
				got, err := s.Once(tokenstore.Revoking(ctx), tag, "jti", "x", time.Minute)
				if err != nil || got != first {
					t.Errorf("once says %v, %v; want %v", got, err, first)
				}
			}

			for name, f := range map[string]flow{"revoked": revoked, "suspended": suspended, "removed": removed, "denied": denied, "cut": cut} {
				r, err := s.Read(ctx, f.token, f.agent.ID)
				noErr(t, err)
				live := r.Grant != nil && r.Grant.Revoked.IsZero() && r.Connection != nil
				may := r.Agent != nil && !r.Agent.Suspended && len(r.Agent.Approval("github").Approved) > 0
				if live && may {
					t.Errorf("%s: a token works still: %+v", name, r)
				}
			}
			// N-3
			health, err := s.Ready(ctx)
			noErr(t, err)
			if health.Refuses != "the server's memory is full (maxmemory)" {
				t.Errorf("health says %+v", health)
			}
		})
	}
}

// N-3. A server that answers but refuses writes is ready, and says what it
// cannot do.
func TestReadySaysWhyNothingCanBeWritten(t *testing.T) {
	server := realredis.Start(t)
	raw, ctx := server.Client(), context.WithoutCancel(t.Context())
	s := backend{url: server.URL(), keys: newKeyset(t)}.open(t)
	for name, c := range map[string]struct{ on, off []any }{
		"the server's memory is full (maxmemory)": {
			[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"},
		},
		"the server has fewer replicas than min-replicas-to-write": {
			[]any{"CONFIG", "SET", "min-replicas-to-write", "1"}, []any{"CONFIG", "SET", "min-replicas-to-write", "0"},
		},
	} {
		for range 2 { // the first time there is no canary yet, and none can be written
			noErr(t, raw.Do(ctx, c.on...).Err())
			health, err := s.Ready(ctx)
			noErr(t, err)
			if health.Refuses != name {
				t.Errorf("health says %q, want %q", health.Refuses, name)
			}
			noErr(t, raw.Do(ctx, c.off...).Err())
			if health, err = s.Ready(ctx); err != nil || health.Refuses != "" {
				t.Errorf("afterwards health says %+v, %v", health, err)
			}
		}
	}
	t.Run("a server that cannot write to its disk", func(t *testing.T) {
		server := realredis.Start(t)
		raw := server.Client()
		s := backend{url: server.URL(), keys: newKeyset(t)}.open(t)
		f := newFlow(t)
		f.store(t, s)
		noErr(t, raw.ConfigSet(ctx, "save", "3600 1").Err())
		noErr(t, raw.ConfigSet(ctx, "appendonly", "no").Err())
		server.LoseDisk()
		raw.BgSave(ctx)
		for end := time.Now().Add(10 * time.Second); !strings.Contains(raw.Info(ctx, "persistence").Val(), "rdb_last_bgsave_status:err"); {
			if time.Now().After(end) {
				t.Fatal("the save does not fail")
			}
			time.Sleep(10 * time.Millisecond)
		}
		health, err := s.Ready(ctx)
		noErr(t, err)
		if health.Refuses != "the server cannot write to its disk" {
			t.Errorf("health says %+v", health)
		}
		if r, err := s.Read(ctx, f.token, f.agent.ID); err != nil || r.Grant == nil {
			t.Errorf("a decision reads %+v, %v", r, err)
		}
	})
}

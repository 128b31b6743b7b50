package tokenstore_test

import (
	"net"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// What a server says that was made a replica counts for nothing, though the
// connection to it is the one from before and its records are all there: it may
// not know what has been revoked.
// F-1; proves: V-4
func TestAnswersOfADemotedServerAreRefused(t *testing.T) {
	server, other := realredis.Start(t), realredis.Start(t)
	s, f, ctx := backend{url: server.URL(), keys: newKeyset(t)}.open(t), newFlow(t), t.Context()
	f.store(t, s)
	reads := map[string]func() error{
		"a decision": func() error { _, err := s.Read(ctx, f.token, f.agent.ID); return err },
		"a grant":    func() error { _, err := s.Grant(ctx, f.token); return err },
		"an agent":   func() error { _, err := s.Agent(ctx, ath.AgentTag(f.agent.ID)); return err },
		"a session":  func() error { _, err := s.Session(ctx, f.sessionID.Tag()); return err },
	}
	for range 3 {
		for _, read := range reads {
			noErr(t, read())
		}
	}
	// It has no password of the other one, so that it keeps what it holds.
	host, port, err := net.SplitHostPort(other.Addr())
	noErr(t, err)
	noErr(t, server.Client().ReplicaOf(ctx, host, port).Err())
	for name, read := range reads {
		if err := read(); err == nil {
			t.Errorf("V-4: %s is read from a replica", name)
		} else {
			wantErr(t, err, tokenstore.ErrUnavailable)
		}
	}
}

package tokenstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// next returns the next change of a watch, and fails the test if none comes.
func next(t *testing.T, w *tokenstore.Watch) tokenstore.Change {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := w.Next(ctx)
	if err != nil {
		t.Fatalf("no change comes: %v", err)
	}
	return c
}

// awaitChange skips changes until one is like this, but for its generation.
func awaitChange(t *testing.T, w *tokenstore.Watch, kind tokenstore.ChangeKind, tag ath.Tag, digest ath.Digest) tokenstore.Change {
	t.Helper()
	for {
		c := next(t, w)
		if c.Kind == kind && c.Tag == tag && c.Digest == digest {
			return c
		}
	}
}

// until waits for a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// notified waits until a store is notified of changes and has seen them all.
func notified(t *testing.T, s *tokenstore.Store) {
	t.Helper()
	until(t, "the feed is notified", func() bool {
		f := s.Feed()
		return f.Notified && !f.Current.IsZero() && f.Generation > 0
	})
}

func testChanges(t *testing.T, b backend) {
	one, two := b.open(t), b.open(t)
	if b.url == tokenstore.Embedded {
		two = one
	}
	notified(t, one)
	notified(t, two)
	w := two.Watch()
	defer w.Close()
	equal(t, next(t, w), tokenstore.Change{Kind: tokenstore.Everything})
	ctx := t.Context()
	f, other := newFlow(t), newFlow(t)
	f.store(t, one)
	other.store(t, one)
	agentTag := ath.AgentTag(f.agent.ID)
	none := ath.Digest{}

	agent, err := one.Agent(ctx, agentTag)
	noErr(t, err)
	suspended := agent.Value
	suspended.Suspended = true
	noErr(t, one.SwapAgent(ctx, agent, suspended))
	awaitChange(t, w, tokenstore.AgentChanged, agentTag, none)

	grant, err := one.Grant(ctx, f.token)
	noErr(t, err)
	noErr(t, one.Revoke(ctx, grant, time.Now()))
	awaitChange(t, w, tokenstore.GrantEnded, f.token.Tag(), f.token.Digest())
	awaitChange(t, w, tokenstore.ConnectionEnded, f.token.Tag(), none)

	ended, err := one.EndConnections(ctx, other.agent.ID, time.Now())
	noErr(t, err)
	equal(t, ended, 1)
	awaitChange(t, w, tokenstore.GrantEnded, other.token.Tag(), other.token.Digest())
	awaitChange(t, w, tokenstore.ConnectionEnded, other.token.Tag(), none)

	agent, err = one.Agent(ctx, agentTag)
	noErr(t, err)
	noErr(t, one.RemoveAgent(ctx, agent))
	last := awaitChange(t, w, tokenstore.AgentChanged, agentTag, none)
	until(t, "the generation is that of the last change", func() bool {
		return last.Generation <= two.Feed().Generation && one.Feed().Generation == two.Feed().Generation
	})
	if age := w.Age(); age > 3*time.Second {
		t.Errorf("the watch is %v behind", age)
	}

	// A refresh that leaves less is told, also by whoever does not know whether a first
	// try has written it: somebody has written since.
	third := newFlow(t)
	third.store(t, one)
	slow, quick := newRefresh(t, one, third), newRefresh(t, one, third)
	less := withNewTokens(slow)
	less.Scopes = nil
	noErr(t, one.FinishRefresh(ctx, quick, withNewTokens(quick), 0))
	wantErr(t, one.FinishRefresh(ctx, slow, less, 0), tokenstore.ErrChanged)
	awaitChange(t, w, tokenstore.ConnectionEnded, third.token.Tag(), none)
	narrows := newRefresh(t, one, third)
	less = withNewTokens(narrows)
	less.Scopes = nil
	noErr(t, one.FinishRefresh(ctx, narrows, less, 0))
	awaitChange(t, w, tokenstore.ConnectionEnded, third.token.Tag(), none)
}

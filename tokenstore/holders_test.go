package tokenstore_test

import (
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// testManyTokens looks at a connection that one agent has few tokens of, and another
// one many that live longer.
func testManyTokens(t *testing.T, b backend) {
	const many = 450
	var mu sync.Mutex
	asked := map[string]int{}
	s, ctx := b.open(t, func(c *tokenstore.Config) {
		c.Observe = func(op string, _ time.Duration, _ error) {
			mu.Lock()
			defer mu.Unlock()
			asked[op]++
		}
	}), t.Context()
	crowded := func(t *testing.T) (few, busy flow) {
		t.Helper()
		user := "user " + string(ath.NewTag())
		few, busy = shared(t, user), shared(t, user)
		few.connection.Scopes = ath.Scopes{"repo", "gist"}
		busy.connection.Scopes = few.connection.Scopes
		few.grant.Expires = few.grant.Issued.Add(20 * time.Minute)
		few.share(t, s, time.Now())
		busy.share(t, s, time.Now())
		for range many {
			noErr(t, s.PutGrant(ctx, ath.NewToken(busy.token.Tag()), busy.grant))
		}
		return few, busy
	}
	holds := func(t *testing.T, f *flow) ath.Scopes {
		t.Helper()
		h := tokenstore.NewHealing(&f.grant, f.grant.Generation, time.Now())
		state, err := s.HealState(ctx, &h, standingTerms)
		noErr(t, err)
		return state.Held
	}
	few, busy := crowded(t)
	// proves: P-10
	t.Run("what an agent holds is found among them", func(t *testing.T) {
		equal(t, holds(t, &few), ath.Scopes{"repo"})
		equal(t, holds(t, &busy), ath.Scopes{"repo"})
		none := shared(t, few.grant.User)
		none.in(tokenstore.ConnectionRef{Tag: few.token.Tag(), Epoch: few.grant.Epoch})
		if held := holds(t, &none); len(held) > 0 {
			t.Errorf("a third agent holds %v", held)
		}
		more := few
		more.token = ath.NewToken(few.token.Tag())
		more.grant.Scopes, more.grant.Expires = ath.Scopes{"gist"}, few.grant.Expires.Add(-time.Minute)
		noErr(t, s.PutGrant(ctx, more.token, more.grant))
		equal(t, holds(t, &few), ath.Scopes{"gist", "repo"})
	})
	t.Run("who has few is listed beside who has many", func(t *testing.T) {
		for _, agent := range []string{few.agent.ID, busy.agent.ID} {
			all, _, _ := connections(t, s, tokenstore.ConnectionQuery{Agent: agent, Limit: 10})
			if len(all) != 1 || all[0].Tokens != many+3 || len(all[0].Agents) != 2 {
				t.Errorf("%s has these: %+v", agent, all)
			}
		}
	})
	// proves: V-6
	t.Run("they are read many at a time to end one agent's", func(t *testing.T) {
		mu.Lock()
		clear(asked)
		mu.Unlock()
		n, err := s.EndConnections(ctx, few.agent.ID, time.Now())
		noErr(t, err)
		mu.Lock()
		reads := asked["holders"] + asked["grant"] + asked["renewal"]
		mu.Unlock()
		if n != 1 || reads == 0 || reads > 15 {
			t.Errorf("%d ended with %d reads: %v", n, reads, asked)
		}
		if live(t, s, few.token, few.agent.ID) || !live(t, s, busy.token, busy.agent.ID) {
			t.Error("the wrong ones ended")
		}
		if held := holds(t, &few); len(held) > 0 {
			t.Errorf("it still holds %v", held)
		}
	})
	t.Run("and each of them ends with the connection", func(t *testing.T) {
		last := ath.NewToken(busy.token.Tag())
		noErr(t, s.PutGrant(ctx, last, busy.grant))
		_, err := s.EndConnection(ctx, busy.token.Tag(), time.Now())
		noErr(t, err)
		for _, token := range []ath.Token{busy.token, last} {
			g, err := s.Grant(ctx, token)
			noErr(t, err)
			if g.Value.Revoked.IsZero() {
				t.Error("a grant has no tombstone")
			}
		}
	})
}
